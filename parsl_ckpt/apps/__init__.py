"""Apps: what users decorate and call."""

from parsl_ckpt.apps.app import App, AppBase, join_app, python_app
from parsl_ckpt.apps.files import File

__all__ = ["App", "AppBase", "File", "join_app", "python_app"]
