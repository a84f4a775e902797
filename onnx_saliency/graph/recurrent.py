"""LSTM, GRU and RNN in ordinary operators: one Scan over the steps for each direction.

The standard states these operators by formulas only; here the formulas become function bodies in
ONNX's own notation, for `functions.expand_functions`. With a = x_t Wᵀ + Wb + Rb, which is computed
for all steps at once before the scan, and a product of two states taken element by element,

    RNN   h' = f(a + h Rᵀ)
    GRU   z, r = f(a + h Rᵀ),  n = g(a + (r h) Rᵀ)  or  g(a + r (h Rᵀ + Rb)),  h' = (1 - z) n + z h
    LSTM  i = f(a + h Rᵀ + P c),  k = f(a + h Rᵀ + P c)  or  1 - i,  c' = k c + i g(a + h Rᵀ),
          o = f(a + h Rᵀ + P c'),  h' = o h(c')

where each gate has its part of a, R and P. A step beyond the length of its sequence leaves the
state as it is and gives 0. A scan over a known number of steps is then written out by `control_flow`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
import onnx.parser
import onnx_ir as ir

from onnx_saliency.errors import ModelError

_SIGNATURES = {
    "RNN": "RNN (X, W, R, B, lens, H0) => (Y, Y_h)",
    "GRU": "GRU (X, W, R, B, lens, H0) => (Y, Y_h)",
    "LSTM": "LSTM (X, W, R, B, lens, H0, C0, P) => (Y, Y_h, Y_c)",
}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_FUNCTIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}  # backwards?
_TYPES = {
    ir.DataType.FLOAT: "float",
    ir.DataType.DOUBLE: "double",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


def recurrent_body(node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    """Return `node` (LSTM, GRU or RNN) as a function of the same inputs and outputs; None for any other."""
    if node.op_type not in _GATES:
        return None
    x, r = node.inputs[0], node.inputs[2]
    size = r.shape[2] if r is not None and r.shape is not None else node.attributes.get_int("hidden_size", None)
    element = _TYPES.get(x.dtype or ir.DataType.FLOAT) if x is not None else None
    if not isinstance(size, int) or element is None:
        return None
    lines = _Layer(node, size, element).write()
    imports = f'<domain: "recurrent", opset_import: ["" : {opset}]>'
    return onnx.parser.parse_function("\n".join([imports, _SIGNATURES[node.op_type], "{", *lines, "}"]))


# --- the notation ------------------------------------------------------------------------------


class _Lines(list[str]):
    """Lines of `name = Operator(...)`; numbers are in the element type."""

    def __init__(self, prefix: str, element: str) -> None:
        super().__init__()
        self.prefix, self.element = prefix, element

    def let(self, expression: str, name: str = "") -> _Term:
        """Write a line; return its result, by the name given or a new one."""
        name = name or f"{self.prefix}{len(self)}"
        self.append(f"{name} = {expression}")
        return _Term(self, name)

    def whole(self, *numbers: int) -> _Term:
        return self.let(f"Constant<value_ints = {list(numbers)}>()")

    def number(self, value: float) -> _Term:
        return self.let(f"Constant<value = {self.element} {{{value!r}}}>()")

    def split(self, x: _Term, sizes: Sequence[int], axis: int = -1) -> list[_Term]:
        along = self.whole(*sizes)
        names = [f"{self.prefix}{len(self)}_{i}" for i in range(len(sizes))]
        self.append(f"{', '.join(names)} = Split<axis = {axis}>({x}, {along})")
        return [_Term(self, name) for name in names]

    def pick(self, name: str, index: int, axis: int = 0) -> _Term:
        return self.let(f"Gather<axis = {axis}>({name}, {self.let(f'Constant<value_int = {index}>()')})")


class _Term:
    """A name with arithmetic, which writes where its first operand was written."""

    def __init__(self, lines: _Lines, name: str) -> None:
        self.lines, self.name = lines, name

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: _Term) -> _Term:
        return self.lines.let(f"Add({self}, {other})")

    def __mul__(self, other: _Term) -> _Term:
        return self.lines.let(f"Mul({self}, {other})")

    def __matmul__(self, other: _Term) -> _Term:
        return self.lines.let(f"MatMul({self}, {other})")

    def __rsub__(self, other: float) -> _Term:
        return self.lines.let(f"Sub({self.lines.number(other)}, {self})")


# --- the layer ---------------------------------------------------------------------------------

_Function = Callable[[_Term], _Term]


class _Layer:
    """The body of one node.

    Args:
        node: LSTM, GRU or RNN.
        size: the number of hidden values, H.
        element: the floating type in ONNX's notation.
    """

    def __init__(self, node: ir.Node, size: int, element: str) -> None:
        self.node, self.size, self.element = node, size, element
        self.gates = _GATES[node.op_type]
        self.lines = _Lines("outside_", element)
        self.batch_first = bool(node.attributes.get_int("layout", 0))
        self.late_reset = bool(node.attributes.get_int("linear_before_reset", 0))
        self.lens = self._has(4)

    def _has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def write(self) -> list[str]:
        let = self.lines.let
        x = let("Transpose<perm = [1, 0, 2]>(X)" if self.batch_first else "Identity(X)")  # [T, B, I]
        zero = let(f"Constant<value = {self.element} {{0}}>()", "zero")
        state = let(f"Concat<axis = 0>({let(f'Shape<start = 1, end = 2>({x})')}, {self.lines.whole(self.size)})")
        zeros = let(f"Expand({zero}, {state})")
        if self.lens:
            start, step = (let(f"Constant<value_int = {number}>()") for number in (0, 1))
            length = let(f"Shape<start = 0, end = 1>({x})")
            let(f"Range({start}, {let(f'Squeeze({length})')}, {step})", "steps")
            let(f"Unsqueeze({let('Cast<to = 7>(lens)')}, {self.lines.whole(1)})", "lengths")  # [B, 1]
        backwards = _DIRECTIONS[self.node.attributes.get_string("direction", "forward")]
        functions = _functions(self.node, len(backwards))
        ends = [
            self._direction(index, back, x, zeros, chosen)
            for index, (back, chosen) in enumerate(zip(backwards, functions, strict=True))
        ]
        self._join("Y", [end[-1] for end in ends], axis=1, batch_first=[2, 0, 1, 3])
        self._join("Y_h", [end[0] for end in ends], axis=0, batch_first=[1, 0, 2])
        if self.node.op_type == "LSTM":
            self._join("Y_c", [end[1] for end in ends], axis=0, batch_first=[1, 0, 2])
        return self.lines

    def _join(self, name: str, parts: Sequence[_Term], axis: int, batch_first: list[int]) -> None:
        """Stack the directions."""
        let, along = self.lines.let, self.lines.whole(axis)
        stacked = f"Concat<axis = {axis}>({', '.join(str(let(f'Unsqueeze({part}, {along})')) for part in parts)})"
        let(f"Transpose<perm = {batch_first}>({let(stacked)})" if self.batch_first else stacked, name)

    def _direction(
        self, index: int, backwards: bool, x: _Term, zeros: _Term, functions: Sequence[_Function]
    ) -> list[_Term]:
        """Return the last states of one direction, [B, H], and what it gives at each step, [T, B, H]."""
        outside, size, op_type = self.lines, self.size, self.node.op_type
        w, r = (outside.let(f"Transpose<perm = [1, 0]>({outside.pick(name, index)})") for name in "WR")
        a, rb = x @ w, None
        if self._has(3):
            wb, rb = outside.split(outside.pick("B", index), [self.gates * size] * 2)
            a = a + (wb if self.late_reset else wb + rb)
        names = ["h", "c"] if op_type == "LSTM" else ["h"]
        given = [(name, 5 + position) for position, name in enumerate(["H0", "C0"][: len(names)])]
        start = [outside.pick(name, index, int(self.batch_first)) if self._has(at) else zeros for name, at in given]

        inside = _Lines(f"inside_{index}_", self.element)
        step, *states = (_Term(inside, name) for name in ("a", *names))
        if op_type == "RNN":
            new = self._rnn(step, r, states, functions)
        elif op_type == "GRU":
            new = self._gru(step, r, rb, states, functions)
        else:
            peepholes = outside.split(outside.pick("P", index), [size] * 3) if self._has(7) else []
            new = self._lstm(step, r, peepholes, states, functions)
        return self._scan(index, backwards, [a, *start], inside, names, new)

    def _scan(
        self,
        index: int,
        backwards: bool,
        start: Sequence[_Term],
        inside: _Lines,
        names: Sequence[str],
        new: list[_Term],
    ) -> list[_Term]:
        """Take the step written `inside`, which makes `new` states of those of `names`, over and over."""
        a, *states = start
        live = inside.let("Less(t, lengths)") if self.lens else None
        for name, state in zip(names, new, strict=True):
            inside.let(
                f"Identity({state})" if live is None else f"Where({live}, {state}, {name})", f"{name}_{index}_new"
            )
        inside.let(f"Identity({new[0]})" if live is None else f"Where({live}, {new[0]}, zero)", f"y_{index}_new")
        taken = [f"{self.element}[batch_{index}, {self.size}] {name}" for name in names]
        taken.append(f"{self.element}[batch_{index}, {self.gates * self.size}] a")
        cut = [str(a)]
        if self.lens:
            taken.append("int64 t")
            cut.append("steps")
        results = [f"{name}_{index}" for name in (*names, "y")]
        self.lines.append(
            f"{', '.join(results)} = Scan<num_scan_inputs = {len(cut)}, "
            f"scan_input_directions = {[int(backwards)] * len(cut)}, scan_output_directions = [{int(backwards)}], "
            f"body = step ({', '.join(taken)}) => ({', '.join(f'{name}_new' for name in results)}) {{\n"
            + "\n".join(f"    {line}" for line in inside)
            + f"\n}}>({', '.join(map(str, (*states, *cut)))})"
        )
        return [_Term(self.lines, name) for name in results]

    # --- one step: a is [B, gates H]; the states are [B, H] ------------------------------------

    def _rnn(self, a: _Term, r: _Term, states: Sequence[_Term], functions: Sequence[_Function]) -> list[_Term]:
        (h,), (f,) = states, functions
        return [f(a + h @ r)]

    def _gru(
        self, a: _Term, r: _Term, rb: _Term | None, states: Sequence[_Term], functions: Sequence[_Function]
    ) -> list[_Term]:
        (h,), (f, g), size = states, functions, self.size
        az, ar, an = a.lines.split(a, [size] * 3)
        if self.late_reset:
            hr = h @ r
            hz, hr, hn = a.lines.split(hr + rb if rb is not None else hr, [size] * 3)
            z, reset = f(az + hz), f(ar + hr)
            n = g(an + reset * hn)
        else:
            r_zr, r_n = self.lines.split(r, [2 * size, size])
            hz, hr = a.lines.split(h @ r_zr, [size] * 2)
            z, reset = f(az + hz), f(ar + hr)
            n = g(an + (reset * h) @ r_n)
        return [(1.0 - z) * n + z * h]

    def _lstm(
        self,
        a: _Term,
        r: _Term,
        peepholes: Sequence[_Term],
        states: Sequence[_Term],
        functions: Sequence[_Function],
    ) -> list[_Term]:
        (h, c), (f, g, last) = states, functions
        ai, ao, af, ac = a.lines.split(a + h @ r, [self.size] * 4)
        if peepholes:
            pi, po, pf = peepholes
            ai, af = ai + c * pi, af + c * pf
        i = f(ai)
        k = 1.0 - i if self.node.attributes.get_int("input_forget", 0) else f(af)
        new = k * c + i * g(ac)
        o = f(ao + new * po if peepholes else ao)
        return [o * last(new), new]


# --- the functions f, g, h ---------------------------------------------------------------------

_PARAMETERS: dict[str, tuple[float, ...]] = {  # alpha and beta where the function has them, by default
    "affine": (1.0, 0.0),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0,),
}


def _functions(node: ir.Node, directions: int) -> list[list[_Function]]:
    """Those of each direction; the node lists parameters in the order of the functions that have them."""
    names = list(node.attributes.get_strings("activations", ())) or _FUNCTIONS[node.op_type] * directions
    alphas, betas = (iter(node.attributes.get_floats(f"activation_{name}", ())) for name in ("alpha", "beta"))
    clip = node.attributes.get_float("clip", None)
    found = []
    for index, name in enumerate(names):
        defaults = _PARAMETERS.get(name.lower(), ())
        parameters = [next(given, default) for given, default in zip((alphas, betas), defaults, strict=False)]
        is_last = node.op_type == "LSTM" and index % 3 == 2  # h(c') is not clipped
        found.append(_function(name.lower(), parameters, None if is_last else clip))
    per = len(found) // directions
    return [found[start : start + per] for start in range(0, len(found), per)]


def _function(name: str, parameters: Sequence[float], clip: float | None) -> _Function:
    def apply(x: _Term) -> _Term:
        let, number = x.lines.let, x.lines.number
        if clip is not None:
            x = let(f"Clip({x}, {number(-clip)}, {number(clip)})")
        match name:
            case "relu" | "tanh" | "sigmoid" | "softplus" | "softsign":
                return let(f"{name.capitalize()}({x})")
            case "affine":
                return x * number(parameters[0]) + number(parameters[1])
            case "scaledtanh":
                return let(f"Tanh({x * number(parameters[1])})") * number(parameters[0])
            case "leakyrelu":
                return let(f"LeakyRelu<alpha = {parameters[0]!r}>({x})")
            case "thresholdedrelu":
                return let(f"ThresholdedRelu<alpha = {parameters[0]!r}>({x})")
            case "elu":
                return let(f"Elu<alpha = {parameters[0]!r}>({x})")
            case "hardsigmoid":
                return let(f"HardSigmoid<alpha = {parameters[0]!r}, beta = {parameters[1]!r}>({x})")
        raise ModelError(f"{name!r} is no activation function of a recurrent operator.")

    return apply
