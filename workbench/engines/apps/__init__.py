"""All-in-one apps as engines: programs of their own that may already be running, with models of their own.

`contract` says what an app can do, one file per app says how; `holding` loads a model, proves its context and proves
that it is gone; `holder` is the process that a deployment of an app consists of; `engine` makes an app an Engine.
"""
