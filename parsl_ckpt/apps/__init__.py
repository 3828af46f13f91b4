"""Apps: what users decorate and call."""

from parsl_ckpt.apps.app import App, AppBase, join_app, python_app

__all__ = ["App", "AppBase", "join_app", "python_app"]
