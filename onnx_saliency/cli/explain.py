"""`explain MODEL IMAGE...`: maps, overlays and numbers for pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, fail, note, out, print_json, print_table, progress


def explain(
    model: options.ModelFile,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Pictures: files, folders, globs.", show_default=False)
    ],
    output_folder: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the results go.")] = Path(
        "saliency"
    ),
    target: Annotated[
        str | None, typer.Option(help="The class to explain, a number or name. Default: the predicted class.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Class names: a text file, one a line, or JSON.", show_default=False)
    ] = None,
    method: options.Method = "gradient",
    preprocess: options.Preset = None,
    resize: options.Resize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    size: options.Size = None,
    input: options.Input = None,
    feed: options.Feeds = None,
    output: options.Output = None,
    provider: options.Providers = None,
    threads: options.Threads = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures a run.")] = 16,
    json: options.Json = False,
) -> None:
    """Show where the class of each picture comes from: overlay and map as PNG, numbers as JSON and NPZ, one page.

    Exit code 1 if some pictures failed; the others are done.

    Example: onnx-saliency explain net.onnx dog.jpg --labels names.txt --preprocess imagenet
    """
    from onnx_saliency.errors import ImageError
    from onnx_saliency.explain import Explainer
    from onnx_saliency.images import find_pictures, read_picture
    from onnx_saliency.report.results import Results, is_result

    sources = [path for path in find_pictures(images) if str(path) in images or not is_result(path, output_folder)]
    if not sources:
        raise ImageError(f"{', '.join(images)}: no pictures but the results of an earlier run.")
    explainer = Explainer(
        model,
        method=method,
        preprocess=preprocess,
        labels=labels,
        input=input,
        output=output,
        providers=provider,
        threads=threads,
        batch_size=batch_size,
        feeds=options.feeds(feed),
    )
    explainer.preprocess = options.preprocessing(
        explainer.preprocess, resize=resize, mean=mean, std=std, channels=channels, size=size
    )
    wanted = int(target) if target is not None and re.fullmatch(r"-?[0-9]+", target) else target
    explainer.check_target(wanted)
    results = Results(output_folder)
    note(f"preprocessing ({explainer.preprocess_source}): {explainer.preprocess}")
    note(f"running on {explainer.provider}")

    failed = []
    for start in progress(range(0, len(sources), explainer.batch_size), "explaining"):
        pictures = []
        for source in sources[start : start + explainer.batch_size]:
            try:
                pictures.append(read_picture(source))
            except ImageError as error:
                failed.append((str(source), str(error)))
        if pictures:
            results.add(explainer, explainer.explain(pictures, wanted))
    for _, why in failed:
        fail(why)
    if results.rows:
        results.finish(model=str(model), explainer=explainer, failed=failed)
    if json:
        print_json({"explained": results.rows, "failed": [{"image": name, "error": why} for name, why in failed]})
    elif results.rows:
        print_table(
            ("picture", "class", "probability", "logit", "files"),
            [_cells(row) for row in results.rows],
            numbers=("probability", "logit"),
        )
        out.print(f"\nAll of it on one page: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
    if failed:
        raise typer.Exit(PARTIAL)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = f"{row['probability']:.1%}", f"{row['logit']:.2f}"
    return Path(row["image"]).name, row["label"], *numbers, Path(row["overlay"]).name
