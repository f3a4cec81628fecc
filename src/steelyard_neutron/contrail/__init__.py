"""Neutron with a Contrail / OpenSDN controller as the authority for networks, addresses and switch ports.

Two drivers, both named `steelyard_contrail`, for clouds in which Neutron's core plugin is ML2 and not the controller's
own plugin: a mechanism driver (`neutron.ml2.mechanism_drivers`) and an IPAM driver (`neutron.ipam_drivers`). They are
made for each other: the mechanism driver makes the networks in which the IPAM driver asks for addresses.
"""
