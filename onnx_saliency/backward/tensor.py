"""The vocabulary rules are written in: tensors with arithmetic, and `op` for every other operator.

    dy * y * (1 - y)                      # Mul, Sub, Mul
    op.ConvTranspose(dy, w, strides=s)    # any standard operator, attributes by keyword

Each expression appends a node to the tape; nothing is computed here. Plain numbers and arrays become
initializers, in the type of the tensor they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args

import numpy as np
import onnx
import onnx_ir as ir

Operand = Union["Tensor", int, float, Sequence[int], np.ndarray]
Profile = Literal["portable", "cpu", "cuda"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


class Tape:
    """The nodes and constants of a subgraph under construction, in the order they were written.

    Args:
        prefix: every new value's name begins with it.
        dtype: the floating type rules compute in. Values of a shorter one are widened when read. Those of a longer one
            are compared as they are, and shortened where an operator takes them together with values of `dtype`.
        profile: the runtime that rules write for, where they have a choice (`lowering`).
    """

    def __init__(self, prefix: str, dtype: ir.DataType = ir.DataType.FLOAT, profile: Profile = "portable") -> None:
        self.prefix = prefix
        self.dtype = dtype
        self.profile = profile
        self.scope = ""  # the forward node whose backward is being written
        self.nodes: list[ir.Node] = []
        self.written = 0  # of all nodes, those that were taken from the tape too: names stay unique
        self.constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._read: dict[ir.Value, Tensor] = {}

    def read(self, value: ir.Value) -> Tensor:
        """Return a value of the forward graph, shorter floats widened to the tape's type."""
        if value not in self._read:
            tensor = Tensor(self, value)
            if tensor.dtype.is_floating_point() and tensor.dtype.bitwidth < self.dtype.bitwidth:
                tensor = _in_type(tensor, self.dtype)
            self._read[value] = tensor
        return self._read[value]

    def within(self, prefix: str) -> Tape:
        """Return a tape for a subgraph; its constants are the outermost graph's."""
        inner = Tape(prefix, self.dtype, self.profile)
        inner.constants = self.constants
        return inner

    def constant(self, array: np.ndarray) -> Tensor:
        """Return an initializer of this value; equal ones are shared."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = f"{self.prefix}constant_{len(self.constants)}"
            tensor = ir.tensor(array, name=name)
            value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
            value.const_value = tensor
            self.constants[key] = value
        return Tensor(self, self.constants[key])

    def append(
        self, op_type: str, inputs: Sequence[Tensor | None], attributes: dict[str, Any], outputs: int
    ) -> list[Tensor]:
        """Write one node and return its outputs."""
        inputs = self._in_one_type(op_type, inputs)
        name = f"{self.prefix}{self.scope}{op_type}_{self.written}"
        self.written += 1
        dtypes = _result_types(op_type, inputs, attributes, outputs)
        values = [
            ir.Value(name=name if outputs == 1 else f"{name}:{i}", type=ir.TensorType(dtype))
            for i, dtype in enumerate(dtypes)
        ]
        node = ir.Node(
            "",
            op_type,
            [None if tensor is None else tensor.value for tensor in inputs],
            ir.convenience.convert_attributes(attributes),
            outputs=values,
            name=name,
        )
        self.nodes.append(node)
        return [Tensor(self, value) for value in values]

    def _in_one_type(self, op_type: str, inputs: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Floats longer than the tape's in its type where they meet it: a type variable of an operator has one."""
        given = list(zip(_repeat(_signature(op_type)[0], inputs), inputs, strict=True))
        met = {variable for variable, t in given if t is not None and t.dtype == self.dtype}
        return [shortened(t, self.dtype) if t is not None and variable in met else t for variable, t in given]


class Tensor:
    """A value under differentiation; arithmetic on it writes nodes."""

    __array_priority__ = 1  # numpy operands defer to the operators below

    def __init__(self, tape: Tape, value: ir.Value) -> None:
        self.tape = tape
        self.value = value

    @property
    def dtype(self) -> ir.DataType:
        """Element type; float32 where the graph does not say."""
        return self.value.dtype or ir.DataType.FLOAT

    @property
    def dims(self) -> tuple[int | str | None, ...] | None:
        """The shape as far as it is known: numbers, names of open dimensions; None without a rank."""
        if self.value.shape is None:
            return None
        return tuple(dim if isinstance(dim, int) else dim.value for dim in self.value.shape)

    @property
    def rank(self) -> int:
        """Number of axes.

        Raises:
            NotDifferentiableError: shape inference could not tell.
        """
        if self.value.shape is None:
            raise NotDifferentiableError(f"the number of axes of {self.value.name!r} is not known")
        return len(self.value.shape)

    @property
    def shape(self) -> Tensor:
        """The shape as an int64 vector: a constant where it is static, computed when run where not."""
        dims = self.dims
        if dims is not None and all(isinstance(dim, int) for dim in dims):
            return self.tape.constant(np.array(dims, dtype=np.int64))
        return op.Shape(self)

    @property
    def array(self) -> np.ndarray | None:
        """The value of a constant, None for what is only known when run."""
        const = self.value.const_value
        return None if const is None or self.value.is_graph_input() else const.numpy()

    def on(self, tape: Tape) -> Tensor:
        """The same value, for what is written on another tape, such as that of a loop's body."""
        return Tensor(tape, self.value)

    def __add__(self, other: Operand) -> Tensor:
        return op.Add(self, self._like(other))

    def __radd__(self, other: Operand) -> Tensor:
        return op.Add(self._like(other), self)

    def __sub__(self, other: Operand) -> Tensor:
        return op.Sub(self, self._like(other))

    def __rsub__(self, other: Operand) -> Tensor:
        return op.Sub(self._like(other), self)

    def __mul__(self, other: Operand) -> Tensor:
        return op.Mul(self, self._like(other))

    def __rmul__(self, other: Operand) -> Tensor:
        return op.Mul(self._like(other), self)

    def __truediv__(self, other: Operand) -> Tensor:
        return op.Div(self, self._like(other))

    def __rtruediv__(self, other: Operand) -> Tensor:
        return op.Div(self._like(other), self)

    def __pow__(self, other: Operand) -> Tensor:
        return op.Pow(self, self._like(other))

    def __neg__(self) -> Tensor:
        return op.Neg(self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return op.MatMul(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return op.Greater(self, self._like(other))

    def __ge__(self, other: Operand) -> Tensor:
        return op.GreaterOrEqual(self, self._like(other))

    def __lt__(self, other: Operand) -> Tensor:
        return op.Less(self, self._like(other))

    def __le__(self, other: Operand) -> Tensor:
        return op.LessOrEqual(self, self._like(other))

    def __and__(self, other: Tensor) -> Tensor:
        return op.And(self, other)

    def equals(self, other: Operand) -> Tensor:
        """Elementwise equality (`==` stays identity, so that tensors can be keys)."""
        return op.Equal(self, self._like(other))

    def cast(self, like: Tensor) -> Tensor:
        """This tensor in the element type of `like`."""
        return op.Cast(self, to=like.dtype)

    def _like(self, other: Operand) -> Tensor:
        if isinstance(other, Tensor):
            return other
        return self.tape.constant(np.asarray(other, dtype=self.dtype.numpy()))


class NotDifferentiableError(Exception):
    """A rule cannot serve this node; says why. The walk collects them and names the nodes."""


class _Operators:
    """`op.NAME(operands..., attribute=...)` writes the standard operator NAME; `op.several` one of several outputs."""

    def __getattr__(self, op_type: str) -> Callable[..., Tensor]:
        def write(*operands: Operand | None, **attributes: Any) -> Tensor:
            (result,) = self.several(op_type, *operands, outputs=1, **attributes)
            return result

        return write

    def several(self, op_type: str, *operands: Operand | None, outputs: int, **attributes: Any) -> list[Tensor]:
        """Write an operator of so many outputs."""
        tape = next(operand.tape for operand in operands if isinstance(operand, Tensor))
        inputs = [
            operand if operand is None or isinstance(operand, Tensor) else tape.constant(_as_array(operand, tape))
            for operand in operands
        ]
        while inputs and inputs[-1] is None:
            inputs.pop()
        given = {key: value for key, value in attributes.items() if value is not None}
        return tape.append(op_type, inputs, given, outputs)


op = _Operators()


def full_like(x: Tensor, value: float) -> Tensor:
    """`value` everywhere, in the shape of `x` and the type of the tape."""
    return op.Expand(np.array(value, x.tape.dtype.numpy()), x.shape)


def shortened(x: Tensor, dtype: ir.DataType) -> Tensor:
    """`x`, in `dtype` where its own type is a longer floating one."""
    is_longer = x.dtype.is_floating_point() and x.dtype.bitwidth > dtype.bitwidth
    return _in_type(x, dtype) if is_longer else x


def _in_type(x: Tensor, dtype: ir.DataType) -> Tensor:
    """A Cast that is known to keep the shape."""
    cast = op.Cast(x, to=dtype)
    cast.value.shape = x.value.shape
    return cast


def _as_array(operand: int | float | Sequence[int] | np.ndarray, tape: Tape) -> np.ndarray:
    """Integers are indices, axes and sizes (int64); floats are values in the tape's type."""
    array = np.asarray(operand)
    if isinstance(operand, np.ndarray):
        return array
    if not array.size or np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64)
    return array.astype(tape.dtype.numpy())


def _result_types(
    op_type: str, inputs: Sequence[Tensor | None], attributes: dict[str, Any], outputs: int
) -> list[ir.DataType]:
    """The element types of a node's outputs, as its schema derives them."""
    taken, made, fixed = _signature(op_type)
    variables = {
        variable: tensor.dtype for variable, tensor in zip(_repeat(taken, inputs), inputs, strict=True) if tensor
    }
    # Cast, EyeLike, ConstantOfShape: an attribute says, float32 by default.
    stated = attributes.get("to", attributes.get("dtype", getattr(attributes.get("value"), "dtype", ir.DataType.FLOAT)))
    return [
        variables.get(variable) or fixed.get(variable) or ir.DataType(stated)
        for variable in _repeat(made, range(outputs))
    ]


@cache
def _signature(op_type: str) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, ir.DataType]]:
    """Type variables of inputs and outputs, and the types of those that allow one only."""
    schema = onnx.defs.get_schema(op_type)
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    taken, made = (tuple(formal.type_str for formal in formals) for formals in (schema.inputs, schema.outputs))
    fixed = {}
    for variable in (*taken, *made):
        types = allowed.get(variable, [variable])
        if len(types) == 1 and types[0].startswith("tensor("):
            fixed[variable] = ir.DataType[types[0].removeprefix("tensor(").removesuffix(")").upper()]
    return taken, made, fixed


def _repeat(formals: Sequence[str], actual: Sequence[object]) -> list[str]:
    """One formal an actual; the last one is variadic."""
    return [formals[min(i, len(formals) - 1)] for i in range(len(actual))]
