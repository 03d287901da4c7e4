"""Every keyword of plans is documented, once, and the page says the same."""

import inspect
import pydoc
from pathlib import Path

import pytest

from umamba import registry
from umamba.networks.plan_keywords import PLAN_KEYWORDS, keywords_as_markdown

OURS = sorted(
    {a.class_path for a in registry.architectures() if a.class_path.startswith("umamba.")}
)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "plan-keywords.md"


@pytest.mark.parametrize("path", OURS)
def test_every_keyword_of_a_network_is_in_the_table_or_in_its_docstring(path: str) -> None:
    lineage = [c for c in pydoc.locate(path).__mro__ if c.__module__.startswith("umamba.")]
    documents = "\n".join(c.__doc__ or "" for c in lineage)
    names = {
        name for c in lineage if "__init__" in vars(c) for name in inspect.signature(c).parameters
    }
    unknown = {n for n in names if f"        {n}: " not in documents and f"**{n}" not in documents}
    assert unknown <= PLAN_KEYWORDS.keys()
    assert "PLAN_KEYWORDS" in documents


def test_what_plans_say_is_in_the_table_or_a_networks_own() -> None:
    known = {key for a in registry.architectures() for key in a.keywords}
    assert known & PLAN_KEYWORDS.keys() == set()  # said in the registry, documented by the network
    assert {"n_stages", "conv_op", "strides", "activation_checkpointing"} <= PLAN_KEYWORDS.keys()


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == keywords_as_markdown()
