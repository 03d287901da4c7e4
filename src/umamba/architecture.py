"""The facts of an architecture that the registry holds; free of torch."""

from dataclasses import dataclass, field
from typing import Any

from umamba.topologies import TopologyRule

__all__ = ["Architecture"]


@dataclass(frozen=True)
class Architecture:
    """An architecture, by a name that `umamba plan --model` takes.

    Args:
        name: The name on the command line.
        family: The network that it is, or of which it is a variant or control.
        colour: That of its family in figures.
        class_path: The value of `network_class_name` in plans; public for good.
        plans_name: Default name of derived plans.
        paper: The publication of the network.
        purpose: Its purpose, in a short phrase that `umamba models` shows.
        topology: The rule for its stages, widths and blocks.
        keywords: Keywords of the network in addition to the topology.
        control_of: Name of the architecture for which `umamba compare` trains it as a control.
        same_as: Name of another architecture that is the same network, with the same weights from
            the same seed.
        needs_input_size: Whether the weights depend on the patch size, so that plans name it.
        has_authors_trainers: Whether its authors' commands name trainers, which we offer as well.
        activation_checkpointing: The setting of new plans; `None` where the network is not ours.
        planner: nnU-Net's planner that makes the plans of that name, if the network is nnU-Net's
            own.
        extra: The optional dependency, an extra of this package, that the network needs.
        parameters_of: Name of the architecture whose number of parameters it matches: its features
            are widened until it has as many.
        recipe: Name of the recipe that is its authors', or the nearest to it.
        dims: Numbers of image axes that it is for.
    """

    name: str
    family: str
    colour: str
    class_path: str
    plans_name: str
    paper: str
    purpose: str
    topology: TopologyRule
    keywords: dict[str, Any] = field(default_factory=dict)
    control_of: str | None = None
    same_as: str | None = None
    needs_input_size: bool = False
    has_authors_trainers: bool = False
    activation_checkpointing: str | None = None
    planner: str | None = None
    extra: str | None = None
    parameters_of: str | None = None
    recipe: str = "nnunet"
    dims: tuple[int, ...] = (2, 3)
