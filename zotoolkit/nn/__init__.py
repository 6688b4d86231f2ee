"""Black boxes as torch layers: a query-only function in the middle of a network, with a gradient for each sample."""

from zotoolkit.nn.asking import Asker, QueryCount
from zotoolkit.nn.behind import losses_behind
from zotoolkit.nn.call import EstimateReport
from zotoolkit.nn.fitting import ProbeReport, fitting_mu, probe_differences
from zotoolkit.nn.layer import BlackBoxFunction

__all__ = [
    "Asker",
    "BlackBoxFunction",
    "EstimateReport",
    "ProbeReport",
    "QueryCount",
    "fitting_mu",
    "losses_behind",
    "probe_differences",
]
