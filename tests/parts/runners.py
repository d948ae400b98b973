"""Shells that play the runners of GitHub and GitLab, as far as the examples of the docs need them.

They read the file, run each line in the shell that the runner takes, with the variables that the
runner sets, and begin a job only if those before it ended as it demands.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
SETUP = ("actions/checkout", "actions/setup-python")
"""Actions of others: they bring what is there already, the code and a Python."""


@dataclass
class Runner:
    """A machine that runs the jobs of one commit."""

    checkout: Path
    """The code at that commit."""

    environ: dict[str, str]
    """What the machine has: a PATH with a Python, a home."""

    variables: dict[str, str]
    """What people entered at the forge for this repository."""

    results: dict[str, str] = field(default_factory=dict)
    """How each job ended, by its name."""

    log: str = ""

    def run(self, text: str, commit: str) -> dict[str, str]:
        """Run the jobs of a file; return how each ended."""
        raise NotImplementedError

    def run_lines(self, lines: str, shell: str, own: Mapping[str, str]) -> bool:
        """Run lines in the checkout; return whether all of them succeeded."""
        script = self.checkout.parent / "script.sh"
        script.write_text(lines)
        done = subprocess.run(
            [*shell.split(), str(script)],
            cwd=self.checkout,
            env={**self.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        self.log += f"$ {lines}\n{done.stdout}"
        return done.returncode == 0


class GitHub(Runner):
    """Reads `.github/workflows/*.yml`."""

    def run(self, text: str, commit: str) -> dict[str, str]:
        workflow = yaml.safe_load(text)
        given = {"GITHUB_SHA": commit, "GITHUB_RUN_NUMBER": "7", "CI": "true"}
        for name, job in workflow["jobs"].items():
            needs = job.get("needs", [])
            needs = [needs] if isinstance(needs, str) else needs
            if job.get("if") != "always()" and {self.results[each] for each in needs} - {"success"}:
                self.results[name] = "skipped"
                continue
            own = given | self._filled(workflow.get("env", {})) | self._filled(job.get("env", {}))
            self.results[name] = "success" if self._run_job(job, own) else "failure"
        return self.results

    def _run_job(self, job: Mapping[str, Any], own: Mapping[str, str]) -> bool:
        for step in job["steps"]:
            if "uses" in step:
                assert step["uses"].startswith(SETUP), step["uses"]
                continue
            environ = {**own, **self._filled(step.get("env", {}))}
            if not self.run_lines(self._fill(step["run"]), "bash -e", environ):
                return False
        return True

    def _filled(self, environ: Mapping[str, object]) -> dict[str, str]:
        return {name: self._fill(str(value)) for name, value in environ.items()}

    def _fill(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self._value_of(found[1]), text)

    def _value_of(self, name: str) -> str:
        kind, _, rest = name.partition(".")
        if kind in ("vars", "secrets"):
            return self.variables[rest]
        if kind == "needs":
            return self.results[rest.removesuffix(".result")]
        github = {
            "server_url": "https://forge.example.org",
            "repository": "people/shop",
            "run_id": "700",
        }
        assert kind == "github", name
        return github[rest]


class GitLab(Runner):
    """Reads `.gitlab-ci.yml`."""

    KEYWORDS = ("default", "stages", "workflow", "variables", "include")

    def run(self, text: str, commit: str) -> dict[str, str]:
        config = yaml.safe_load(text)
        given = {
            **self.variables,
            "CI": "true",
            "CI_COMMIT_SHA": commit,
            "CI_PIPELINE_ID": "70",
            "CI_PIPELINE_URL": "https://forge.example.org/people/shop/-/pipelines/70",
        }
        for stage in config["stages"]:
            # The jobs of a stage look at those of the stages before.
            failed = "failure" in self.results.values()
            for name, job in config.items():
                if name in self.KEYWORDS or name.startswith(".") or job["stage"] != stage:
                    continue
                job = {**config.get(job.get("extends"), {}), **job}
                if (job.get("when", "on_success") == "on_failure") != failed:
                    self.results[name] = "skipped"
                    continue
                # Both scripts are one shell's, each line of them in turn.
                lines = "\n".join([*job.get("before_script", []), *job["script"]])
                ended = self.run_lines(lines, "bash -eo pipefail", given)
                self.results[name] = "success" if ended else "failure"
        return self.results


def check_out(repository: Path, commit: str, folder: Path) -> Path:
    """Return a folder with the code of a commit."""
    shutil.rmtree(folder, ignore_errors=True)
    clone = ["git", "clone", "--quiet", str(repository), str(folder)]
    subprocess.run(clone, check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", commit], check=True)
    return folder
