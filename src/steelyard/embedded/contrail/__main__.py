"""Start the controller."""

from steelyard.embedded.contrail.service import main

main()
