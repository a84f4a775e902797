"""`explain MODEL IMAGE...`: maps, overlays and numbers for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import (
    fail,
    interruptible,
    leave,
    note,
    out,
    print_json,
    print_table,
    progress,
    tell_reading,
)


def explain(
    model: options.ModelFile,
    images: options.Images,
    output_folder: options.OutputFolder = Path("saliency"),
    target: Annotated[
        str | None, typer.Option(help="The class to explain, a number or name. Default: the predicted class.")
    ] = None,
    labels: options.Labels = None,
    against: Annotated[
        str | None, typer.Option(help="Subtract this class's score, to show what favours the explained class over it.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Explain this many classes of each picture, the likeliest ones.")
    ] = None,
    method: options.Method = "gradient",
    samples: options.Samples = None,
    noise: options.Noise = None,
    seed: options.Seed = None,
    steps: options.Steps = None,
    baseline: options.Baseline = None,
    at_once: options.AtOnce = None,
    layer: options.Layer = None,
    neuron: options.Neuron = None,
    channel: options.Channel = None,
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
    batch_size: options.BatchSize = None,
    memory_limit: options.MemoryLimit = None,
    precision: options.Precision = "single",
    no_cache: options.NoCache = False,
    json: options.Json = False,
) -> None:
    """Show where the class of each picture comes from: overlay and map as PNG, numbers as JSON and NPZ, one page.

    Exit code 1 if some pictures failed; the others are done. Interrupted, it writes what is done; exit code 130.

    Example: onnx-saliency explain net.onnx dog.jpg --labels names.txt --preprocess imagenet
    """
    from onnx_saliency.errors import ImageError, SaliencyError
    from onnx_saliency.explain import Explainer
    from onnx_saliency.images import read_picture
    from onnx_saliency.report.results import Results, result_names
    from onnx_saliency.report.run import failures

    sources = options.sources(images, output_folder, lambda found: result_names(found, top or 1))
    chosen = options.method(
        method, layer, samples=samples, noise=noise, seed=seed, steps=steps, baseline=baseline, at_once=at_once
    )
    score, number = options.score(chosen, layer, neuron, channel)
    if target is not None and (number is not None or top is not None):
        raise SaliencyError("Give --target, --top, or --neuron or --channel of a --layer, not several of them.")
    explainer = Explainer(
        model,
        method=chosen,
        score=score,
        several=top,
        preprocess=options.preprocessing(preprocess, resize=resize, mean=mean, std=std, channels=channels, size=size),
        labels=labels,
        input=input,
        output=output,
        providers=provider,
        threads=threads,
        workers=options.workers(len(sources), threads),
        batch_size=batch_size,
        memory_limit=memory_limit,
        feeds=options.feeds(feed),
        cache=not no_cache,
        precision=precision,
    )
    wanted = number if number is not None else options.number_or_name(target)
    other = options.number_or_name(against)
    explainer.check_target(wanted, other)
    results = Results(output_folder)
    tell_reading(explainer)
    if explainer.changed:
        note(f"{chosen.name}: {len(explainer.changed)} rectifiers follow it")
        for line in explainer.notes:
            note(line)
    if explainer.layer:
        note(f"{chosen.name}: the layer is {explainer.layer}")
    note(f"running on {explainer.provider}")
    if memory_limit is not None:
        fixed = f"; the model takes {explainer.batch} per run" if explainer.batch else ""
        note(f"pictures at once: {explainer.at_once}{fixed}")

    failed = []
    with interruptible() as interruption:
        for start in progress(range(0, len(sources), explainer.at_once), "explaining"):
            pictures = []
            for source in sources[start : start + explainer.at_once]:
                try:
                    pictures.append(read_picture(source))
                except ImageError as error:
                    failed.append((str(source), str(error)))
            if pictures:
                results.add(explainer, explainer.explain(pictures, wanted, against=other))
    for _, why in failed:
        fail(why)
    partial = interruption.after(len(results.rows) // (top or 1) + len(failed), len(sources))
    if results.rows:
        results.finish(model=str(model), explainer=explainer, failed=failed, partial=partial)
    if json:
        print_json({"explained": results.rows, "failed": failures(failed), "partial": bool(partial)})
    elif results.rows:
        print_table(*_table(results.rows), numbers=("probability", "score"))
        gaps = [abs(row["gap"]) for row in results.rows if row["gap"] is not None]
        if gaps:
            out.print(
                f"\nBefore correction the sampled points miss at most {max(gaps):.1%} of the score's change. With few "
                "steps the correction is not complete: raise --steps."
            )
        where, index = (escape(str(path)) for path in (output_folder, output_folder / "index.html"))
        out.print(
            f"\nOverlays, maps and numbers are in {where}, all of it on one page: [bold]{index}[/]", soft_wrap=True
        )
    leave(partial, failed)


def _table(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and cells; a neuron has no probability."""
    of_classes = all(row["probability"] is not None for row in rows)
    columns = ("picture", "class", "probability", "score") if of_classes else ("picture", "what", "score")
    cells = []
    for row in rows:
        probability = (f"{row['probability']:.1%}",) if of_classes else ()
        score = f"{row['score']:.4g}" if not of_classes else f"{row['score']:.2f}"
        cells.append((Path(row["image"]).name, row["label"], *probability, score))
    return columns, cells
