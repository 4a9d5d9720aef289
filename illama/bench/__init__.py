"""`illama bench`: what a machine does with a model, in figures that can be trusted, repeated and compared.

Knows: how rates, waits, loads, memory and CPU time are measured, in turns, and what is recorded with them. Does not
know: terminals and notebooks (`illama.cli.bench` and `illama.notebook.benching` show what comes out). OpenVINO is
imported by the process of `--raw` alone.
"""
