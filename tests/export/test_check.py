import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.check import check_graph
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import BundleError


@pytest.fixture
def graph(tmp_path):
    return onnx.load(make_tiny_bundle(tmp_path / "bundle").onnx_path)


@pytest.fixture
def refused(tmp_path):
    def check(model, match):
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(BundleError, match=match):
            check_graph(path)

    return check


def test_an_ordinary_graph_passes(graph, tmp_path):
    onnx.save(graph, tmp_path / "model.onnx")
    check_graph(tmp_path / "model.onnx")


def test_numbers_in_another_file_are_refused(graph, refused):
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == "weight")
    onnx.external_data_helper.set_external_data(tensor, "../secret")
    refused(graph, "keeps the numbers of 'weight' in another file")


def test_numbers_of_a_constant_in_another_file_are_refused(graph, refused):
    tensor = numpy_helper.from_array(numpy_helper.to_array(graph.graph.initializer[0]), "hidden")
    onnx.external_data_helper.set_external_data(tensor, "secret")
    graph.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))
    refused(graph, "keeps the numbers of 'hidden' in another file")


@pytest.mark.parametrize(("operator", "domain"), [("Evil", "com.example"), ("If", ""), ("RandomNormal", "")])
def test_operators_that_are_not_on_the_list_are_refused_by_name(graph, refused, operator, domain):
    graph.graph.node.append(helper.make_node(operator, ["embeddings"], ["other"], domain=domain))
    refused(graph, rf"uses the operator {domain or 'ai.onnx'}\.{operator}")


def test_functions_and_other_opsets_are_refused(graph, refused):
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    other.opset_import[0].version = 17
    refused(other, "needs opset 17")
    node = helper.make_node("Identity", ["x"], ["y"])
    graph.functions.append(helper.make_function("local", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))
    refused(graph, "has a function of its own, 'F'")


def test_what_is_no_graph_is_refused(graph, refused, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"cannot be read as ONNX|is no valid ONNX"):
        check_graph(tmp_path / "model.onnx")
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    refused(graph, "is no valid ONNX graph")
