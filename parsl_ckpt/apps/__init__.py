"""Apps: what users decorate and call."""

from parsl_ckpt.apps.app import App, AppBase, join_app, python_app
from parsl_ckpt.apps.bash import bash_app
from parsl_ckpt.apps.files import File

__all__ = ["App", "AppBase", "File", "bash_app", "join_app", "python_app"]
