"""Several classes at once on a well-known net whose batch is set open: the numbers of one after the other."""

from light import light_model, random_images
from net import relative, session

from onnx_saliency.exporter import explained, export


def test_several_classes(monkeypatch):
    model = light_model("squeezenet")
    stored = {tensor.name for tensor in model.graph.initializer}
    (image,) = [value for value in model.graph.input if value.name not in stored]
    x = random_images(model, 2)
    for value in (image, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    made = export(model, several=2, check=False)
    monkeypatch.setattr(explained, "explain_at_once", lambda *args: {})
    slow = export(model, several=2, check=False)
    assert [sum(node.op_type == "Loop" for node in each.graph.node) for each in (made, slow)] == [0, 1]
    found, expected = (session(each).run(["input_gradient"], {image.name: x})[0] for each in (made, slow))
    assert relative(found, expected) < 1e-5
