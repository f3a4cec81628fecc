"""The real OpenStack services on this one machine, and the simulated rack (`steelyard up`, `down`, `status`, ...).

Read in this order: home (what is on disk), configuration (what each service is told), units (what is started, in which
order), supervisor (who keeps it running), commands (what the user types). Nothing outside of this package imports it.
"""
