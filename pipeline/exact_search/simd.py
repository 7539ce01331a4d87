"""Two vector operations that the compiler does not find by itself: the search spends nearly all of its time in them.

Both work on rows of 2P class sums (P intersections, then P unions; P is a multiple of 8). Sums are 32- or 64-bit
integers; what is added may be narrower and unsigned. Rows that start on a cache line cost least.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="misc"
# These are code generators for numba: types are those of LLVM's builder.

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

SUM_LANES = 16  # integers per register when adding
IOU_LANES = 8  # floats per register when dividing
# 32-bit sums stay below 2**30: a product of three unions, times an intersection, stays below float32's 2**127.
UNIONS_PER_DIVISION = {32: 3, 64: 1}
FAST = ("reassoc", "contract")  # not "nnan": an absent class is 0 / 0


@intrinsic
def add_difference(typingctx, pad, target, target_at, source, plus_at, minus_at):
    """target[target_at:+2P] += source[plus_at:+2P] - source[minus_at:+2P], on flat arrays. pad: a tuple of P zeros."""
    count = 2 * len(pad)

    def generate(context, builder, signature, arguments):
        wide = ir.VectorType(context.get_value_type(target.dtype), SUM_LANES)
        narrow = ir.VectorType(context.get_value_type(source.dtype), SUM_LANES)
        whole = _data(context, builder, target, arguments[1])
        data = _data(context, builder, source, arguments[3])

        def term(position, at):
            value = _load(builder, data, position, at, narrow)
            return value if narrow == wide else builder.zext(value, wide)

        for at in range(0, count, SUM_LANES):
            there = _pointer(builder, whole, arguments[2], at, wide)
            difference = builder.sub(term(arguments[4], at), term(arguments[5], at))
            total = builder.add(builder.load(there, align=_size(wide.element)), difference)
            builder.store(total, there, align=_size(wide.element))
        return context.get_dummy_value()

    return types.void(pad, target, types.intp, source, types.intp, types.intp), generate


@intrinsic
def advance(typingctx, pad, running, histogram, at):
    """running[:2P] += histogram[at:+2P]; returns the float32 sum of intersection / union over the P lanes."""
    lanes = len(pad)

    def generate(context, builder, signature, arguments):
        element = context.get_value_type(running.dtype)
        vector = ir.VectorType(element, IOU_LANES)
        floats = ir.VectorType(ir.FloatType(), IOU_LANES)
        sums = _data(context, builder, running, arguments[1])
        steps = _data(context, builder, histogram, arguments[2])
        zero = ir.Constant(ir.IntType(64), 0)

        def moved(lane):
            there = _pointer(builder, sums, zero, lane, vector)
            step = _load(builder, steps, arguments[3], lane, vector)
            total = builder.add(builder.load(there, align=_size(element)), step)
            builder.store(total, there, align=_size(element))
            return builder.sitofp(total, floats)

        fractions = [(moved(lane), moved(lanes + lane)) for lane in range(0, lanes, IOU_LANES)]
        return _reduced(builder, _quotients(builder, fractions, UNIONS_PER_DIVISION[element.width]), floats)

    return types.float32(pad, running, histogram, types.intp), generate


def _quotients(builder, fractions, together):
    """Sum of the fractions, a few over each common denominator: division is by far the slowest step."""
    total = None
    for start in range(0, len(fractions), together):
        above, below = fractions[start]
        for numerator, denominator in fractions[start + 1 : start + together]:
            left = builder.fmul(above, denominator, flags=FAST)
            above = builder.fadd(left, builder.fmul(numerator, below, flags=FAST), flags=FAST)
            below = builder.fmul(below, denominator, flags=FAST)
        quotient = builder.fdiv(above, below, flags=FAST)
        total = quotient if total is None else builder.fadd(total, quotient, flags=FAST)
    return total


def _reduced(builder, vector, floats):
    """The sum of a vector's lanes."""
    kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), floats])
    reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{IOU_LANES}f32")
    return builder.call(reduce, [ir.Constant(ir.FloatType(), 0.0), vector], fastmath=FAST)


def _data(context, builder, kind, value):
    return context.make_array(kind)(context, builder, value).data


def _pointer(builder, data, at, lane, vector):
    position = builder.add(at, ir.Constant(at.type, lane))
    return builder.bitcast(builder.gep(data, [position]), vector.as_pointer())


def _load(builder, data, at, lane, vector):
    return builder.load(_pointer(builder, data, at, lane, vector), align=_size(vector.element))


def _size(element):
    return element.width // 8
