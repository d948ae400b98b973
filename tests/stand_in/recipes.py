"""A pipeline of eight steps, of which each runs two commands."""

from deploy_manager.recipes import Host, Phase, Pipeline, Site, add_pipeline, recipe

STEPS = 8


def _work(host: Host, site: Site) -> None:
    host.run("one command")
    host.run("another command")


_NAMES = tuple(f"stand_in_{number}" for number in range(STEPS))
for _name in _NAMES:
    recipe(_name.replace("_", " "), name=_name)(_work)

add_pipeline(
    Pipeline(
        "stand_in",
        "Stand in",
        (
            Phase("prepare", "Prepare", _NAMES[:5], gate=True),
            Phase("activate", "Activate", _NAMES[5:7], in_waves=True),
            Phase("clean_up", "Clean up", _NAMES[7:]),
        ),
    )
)
