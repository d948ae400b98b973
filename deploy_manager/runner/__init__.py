"""A deployment's story: request, plan, claim, phases, finish."""

from deploy_manager.runner.plan import Plan, PlannedServer, make_plan
from deploy_manager.runner.request import may_deploy, request
from deploy_manager.runner.run import run

__all__ = ["Plan", "PlannedServer", "make_plan", "may_deploy", "request", "run"]
