"""Panels for notebooks and Voilà, the jobs behind them, and the dashboards' server.

A panel is a model (traitlets, no widgets) and a view (ipywidgets). Nothing here predicts or measures:
panels call the same functions as the command line and are clients of deployments.
Importing this package imports neither ipywidgets nor Voilà.
"""
