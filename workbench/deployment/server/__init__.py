"""The server of engines that are only libraries: one model, one process, the OpenAI API on 127.0.0.1.

`python -P -m workbench.deployment.server '<json of engines.runtime.Hosted>'`, with the key in WORKBENCH_API_KEY.

`app` holds what every kind of model shares: the key, limits on sizes, health, metrics, errors in OpenAI's shape.
`scheduler` is the one thread that runs the model, request by request in turns. A kind of model is a runtime
(`engines.runtime`) and a module of routes: `text` has chat and completions. Nothing here knows an engine.
"""
