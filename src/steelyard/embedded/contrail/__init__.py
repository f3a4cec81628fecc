"""A small Contrail/OpenSDN controller for the embedded cloud and for tests: `python -m steelyard.embedded.contrail`.

Its config API behaves as a real one was observed to behave, traps included (docs/contrail-controller.md), and its
fabric manager writes the VLANs of port groups to the simulated switches. It is one process on the loopback; everything
that it knows is in one SQLite file, committed before an answer is given.

* schema      which types there are, and their properties, parents and references
* database    the objects, in memory and in the file; transactions
* resources   create, read, update, delete and references, the same for every type
* networks, addresses, port_groups, hardware    what is peculiar to some types
* lists       lists with filters, pages and counts
* visibility  perms2: who sees and changes what
* identity    who a token belongs to: asked of Keystone, or read from a file
* frame, api  the HTTP face
* fabric      the fabric manager
"""
