"""`illama tune`: the settings with which this machine runs a model best, found by measuring and kept with the model.

Knows: which settings are tried, when one is better, what is kept. Does not know: how a rate is measured
(`illama.bench`), how the engine obeys a setting (`illama.engine.settings`), terminals and notebooks.
"""
