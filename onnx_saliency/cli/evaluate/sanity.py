"""`evaluate sanity`: do the maps follow the network, the picture and the class?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, counting_bar, fail, note, out, print_json, print_table, tell_reading
from onnx_saliency.cli.evaluate.asked import ModelOptions, facts_of


@options.taking(ModelOptions)
def sanity(
    model: options.ModelFile,
    images: options.Images,
    output_folder: options.OutputFolder = Path("sanity"),
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method to check, as often as wanted. Default: gradient, guided, deconvnet."),
    ] = None,
    stages: Annotated[int, typer.Option(min=1, help="Number of stages in which layers are randomised.")] = 12,
    independent: Annotated[bool, typer.Option(help="Also randomise each stage alone.")] = True,
    draw: Annotated[
        str,
        typer.Option(
            help="How weights are randomised: normal (random numbers of the same spread) or permutation (the old "
            "ones, shuffled)."
        ),
    ] = "normal",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    threshold: Annotated[
        float,
        typer.Option(
            help="A method passes if its maps' rank correlation with those of the trained network falls below this."
        ),
    ] = 0.5,
    *,
    asked: ModelOptions,
) -> None:
    """Randomise the network's layers, the pixels and the class, and see whether the maps change (Adebayo et al. 2018).

    Leaves the table, every picture's numbers, curves over the layers and the maps themselves. A verdict takes six
    pictures or more. Exit code 1 if some could not be read; the others are done.

    Example: onnx-saliency evaluate sanity net.onnx photographs --preprocess imagenet
    """
    from onnx_saliency.errors import ImageError
    from onnx_saliency.evaluation.sanity import METHODS, check_sanity
    from onnx_saliency.explain import Explainer
    from onnx_saliency.images import read_picture
    from onnx_saliency.report.files import check_folder
    from onnx_saliency.report.sanity import COLUMNS, SHEET, SanityPages, cells
    from onnx_saliency.report.table import counted

    check_folder(output_folder)
    sources = options.sources(images, output_folder, lambda _: [SHEET])
    explainer = Explainer(model, workers=options.workers(len(sources), asked.threads), **asked.settings)
    tell_reading(explainer)
    pictures, failed = [], []
    for source in sources:
        try:
            pictures.append(read_picture(source))
        except ImageError as error:
            failed.append((str(source), str(error)))
            fail(str(error))
    if not pictures:
        if asked.json:
            print_json(facts_of(model, explainer, failed) | {"pictures": 0, "methods": []})
        raise typer.Exit(PARTIAL)
    note(f"{counted(len(pictures), 'picture')}, running on {explainer.provider}")
    with counting_bar("checking") as show:
        result = check_sanity(
            explainer,
            pictures,
            methods=method or METHODS,
            stages=stages,
            independent=independent,
            draw=draw,
            seed=seed,
            threshold=threshold,
            progress=show,
        )
    facts = facts_of(model, explainer, failed) | {"pictures": len(pictures)}
    pages = SanityPages(output_folder, result, facts, pictures[0].pixels)
    pages.write()
    for row in pages.measured["methods"]:
        if row["constant_maps"]:
            note(f"{row['method']}: {row['constant_maps']} maps of random networks are constant and left out")
    if asked.json:
        print_json(pages.as_dict())
    else:
        rows = pages.measured["methods"]
        columns = [column.format(first=result.methods[0].method) for column in COLUMNS]
        print_table(["", *columns], [[row["method"], *cells(row)] for row in rows], numbers=columns[:-1])
        out.print(
            "\nRank correlation with the map of the trained network, mean and 95 % interval over pictures; a method "
            f"passes below {threshold:g}, with all {result.layers[-1]} layers random, with the upper "
            f"{result.layers[result.upper - 1]}, and with the pixels shuffled.",
            soft_wrap=True,
        )
        out.print(f"\nAll of it on one page: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
    if failed:
        raise typer.Exit(PARTIAL)
