"""What `compare` and `evaluate faithfulness` share: methods measured side by side, and what is printed of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli.console import counting_bar, fail, note, out, print_facts, print_json, print_table

if TYPE_CHECKING:
    from onnx_saliency.evaluation.faithfulness import Case, Protocol
    from onnx_saliency.explain import Explainer

METHODS = (
    "gradient",
    "input_x_gradient",
    "integrated_gradients",
    "smoothgrad",
    "guided",
    "deconvnet",
    "gradcam",
    "layercam_fused",
)

Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help=f"As explain takes it; as often as wanted. Default: {', '.join(METHODS)}."),
]
ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol", help="plain, blurred, smdl-celeba, smdl-vggface2, smdl-cub, xplique, openvino-xai or rise."
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Number of steps of both curves, instead of the protocol's own.", show_default=False),
]
Shown = Annotated[int, typer.Option(min=0, help="How many pictures to show on the page.")]


def build_explainers(model: Path, methods: list[str] | None, settings: Mapping[str, Any]) -> dict[str, Explainer]:
    """One for each method, by its name. MethodError where there is no such method."""
    from onnx_saliency.explain import Explainer
    from onnx_saliency.exporter import find_method

    chosen = [find_method(name) for name in dict.fromkeys(methods or METHODS)]
    return {each.name: Explainer(model, method=each, **settings) for each in chosen}


def measure(
    explainers: Mapping[str, Explainer],
    cases: Sequence[Case],
    protocol: Protocol,
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, Any],
    shown: int,
    json: bool,
    skip: bool,
    failed: Iterable[tuple[str, str]] = (),
) -> bool:
    """Measure, write the folder of results and print the table, or all of it as JSON.

    Returns: whether pictures were left out: those that `failed` before, or, with `skip`, that cannot be read.
    """
    from onnx_saliency.evaluation.faithfulness import METRICS, measure_faithfulness
    from onnx_saliency.report.faithfulness import COLUMNS, FaithfulnessPages, best_methods, cells, legend

    pages = FaithfulnessPages(folder, title, facts, failed)
    for subject, text in protocol.describe().items():
        note(f"{subject}: {text}")
    with counting_bar("measuring", len(cases)) as show:
        result = measure_faithfulness(explainers, cases, protocol, skip=skip, progress=show)
    for _, why in result.failed:
        fail(why)
    measured = pages.write(result, explainers, list(zip(result.images, result.targets, strict=True))[:shown])
    if json:
        print_json(measured)
        return bool(measured["failed"])
    rows = [[row["name"], *cells(row)] for row in measured["contenders"]]
    print_table(["", *COLUMNS.values()], rows, numbers=list(COLUMNS.values()))
    out.print(f"\n{legend(measured)}")
    if not measured["note"]:
        out.print("\nBest method:")
        print_facts((f"  {COLUMNS[name]}", best) for name, best in zip(METRICS, best_methods(measured), strict=True))
    out.print(f"\nAll of it on one page: [bold]{escape(str(folder / 'index.html'))}[/]", soft_wrap=True)
    return bool(measured["failed"])
