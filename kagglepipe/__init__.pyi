from kagglepipe.api import Run as Run
from kagglepipe.api import blend as blend
from kagglepipe.api import list_runs as list_runs
from kagglepipe.api import load as load
from kagglepipe.api import submit as submit
from kagglepipe.api import train as train
from kagglepipe.errors import UserError as UserError

__version__: str
__all__: list[str]
