"""What the reconcile loop can't do with a row, told on its page."""

from deploy_manager.models import Problem
from deploy_manager.models.problems import ProblemQuerySet


def shown_problems(found: ProblemQuerySet) -> list[Problem]:
    """Return problems to be shown, the same words once: several rows may have them."""
    by_text: dict[str, Problem] = {}
    for problem in found.order_by("since", "pk"):
        by_text.setdefault(problem.text, problem)
    return list(by_text.values())
