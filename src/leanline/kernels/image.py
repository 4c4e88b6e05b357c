"""One image through a plane program, forward and backward, on one thread."""

import numba as nb
import numpy as np

from leanline.kernels.conv3 import GATE_NONE, GATE_SELF, START_FROM_BIAS, run_segment
from leanline.kernels.denormals import flush_denormals, restore_denormals
from leanline.kernels.halo import ZEROS, fill_border, fold_border
from leanline.kernels.pointwise import run_pointwise
from leanline.kernels.products import matrix_gradients, plane_sum
from leanline.kernels.tap_gradient import tap_gradients


@nb.njit(nogil=True, cache=True)
def _load(picture, planes, plane, origin, stride, height, width):  # type: ignore[no-untyped-def]
    for y in range(height):
        begin = plane + origin + y * stride
        planes[begin : begin + width] = picture[y]


@nb.njit(nogil=True, cache=True)
def _add(picture, planes, plane, origin, stride, height, width):  # type: ignore[no-untyped-def]
    for y in range(height):
        begin = plane + origin + y * stride
        planes[begin : begin + width] += picture[y]


@nb.njit(nogil=True, cache=True)
def _unload(planes, plane, picture, origin, stride, height, width):  # type: ignore[no-untyped-def]
    for y in range(height):
        begin = plane + origin + y * stride
        picture[y] = planes[begin : begin + width]


@nb.njit(nogil=True, cache=True)
def forward_image(
    pictures,
    planes,
    segments,
    source,
    taps,
    bias,
    head_source,
    head,
    head_bias,
    output_planes,
    out,
    geometry,
):  # type: ignore[no-untyped-def]
    """Run the program on one image.

    Args:
        pictures: float32, channels x height x width.
        planes: float32 buffer of the image's planes; its borders are zero.
        segments: the program's segments.
        source: offset of each edge's source plane.
        taps: float32, 9 an edge, flat.
        bias: float32, one a segment.
        head_source: offsets of the planes that the head reads.
        head: float32, outputs x sources, flat.
        head_bias: float32, one an output.
        output_planes: offsets of the planes that are the output (without a head).
        out: float32, outputs x height x width, written.
        geometry: int64: origin, stride, pitch, height, width, border, padding mode.
    """
    origin, stride, pitch, height, width, border, mode = geometry
    state = flush_denormals()
    for channel in range(pictures.shape[0]):
        _load(pictures[channel], planes, channel * pitch, origin, stride, height, width)
        if mode != ZEROS:
            fill_border(planes, channel * pitch, origin, stride, height, width, border, mode)
    for row in range(segments.shape[0]):
        plane, dilation, first, last, relu = segments[row]
        gate = GATE_SELF if relu else GATE_NONE
        run_segment(
            planes,
            source,
            taps,
            first,
            last,
            dilation,
            plane * pitch,
            START_FROM_BIAS,
            bias[row],
            gate,
            planes,
            plane * pitch,
            origin,
            stride,
            0,
            height,
            0,
            width,
        )
        if mode != ZEROS:
            fill_border(planes, plane * pitch, origin, stride, height, width, border, mode)
    if head_source.size:
        flat = out.reshape(-1)
        targets = nb.int64(height * width) * _range(out.shape[0])
        run_pointwise(
            planes,
            head_source,
            head,
            head_bias,
            origin,
            stride,
            targets,
            flat,
            0,
            width,
            height,
            width,
        )
    for channel in range(output_planes.size):
        _unload(planes, output_planes[channel], out[channel], origin, stride, height, width)
    restore_denormals(state)


@nb.njit(nogil=True, cache=True)
def _range(count):  # type: ignore[no-untyped-def]
    return np.arange(count)


@nb.njit(nogil=True, cache=True)
def backward_image(
    grad_out,
    planes,
    grads,
    segments,
    source,
    mirror_segments,
    mirror_source,
    mirror_taps,
    mirror_count,
    head_source,
    head_targets,
    head_columns,
    output_planes,
    first_free,
    grad_taps,
    grad_bias,
    grad_head,
    grad_head_bias,
    grad_in,
    geometry,
):  # type: ignore[no-untyped-def]
    """Gradients of one image; parameters' gradients are float64 and added to.

    Args:
        grad_out: float32, outputs x height x width.
        planes: the activations that `forward_image` left.
        grads: float32 buffer of gradient planes, one more for each output; borders zero.
        segments: the program's segments.
        source: offset of each edge's source plane.
        mirror_segments: the data gradient's segments.
        mirror_source: offset of each mirrored edge's source plane in ``grads``.
        mirror_taps: float32, mirrored taps of each mirrored edge, flat.
        mirror_count: how many of the data gradient's segments to run.
        head_source: offsets of the planes that the head reads.
        head_targets: the same offsets, each once.
        head_columns: float32, transposed head, targets x outputs.
        output_planes: offsets of the planes that are the output (without a head).
        first_free: index of the first extra plane of ``grads``.
        grad_taps: 9 an edge.
        grad_bias: one a segment.
        grad_head: outputs x sources.
        grad_head_bias: one an output.
        grad_in: float32, channels x height x width, written (may have no channels).
        geometry: as in `forward_image`.
    """
    origin, stride, pitch, height, width, border, mode = geometry
    state = flush_denormals()
    extra = (first_free + _range(grad_out.shape[0])) * pitch
    if head_source.size:
        for k in range(grad_out.shape[0]):
            _load(grad_out[k], grads, extra[k], origin, stride, height, width)
            grad_head_bias[k] += plane_sum(grads, extra[k], origin, stride, height, width)
        matrix_gradients(
            planes, head_source, grads, extra, origin, stride, height, width, grad_head
        )
    grown = 0 if mode == ZEROS else border
    nothing = np.zeros(1, np.float32)
    at = segments.shape[0]
    # Plane by plane, so that a plane's gradient is in the cache for all that is done with it.
    for row in range(mirror_count):
        plane, dilation, first, last, start, gate, slot = mirror_segments[row]
        here, there = plane * pitch, slot * pitch  # among the activations, among the gradients
        if row == 0 or mirror_segments[row - 1, 0] != plane:
            seen = False
            for channel in range(output_planes.size):
                if output_planes[channel] == here:
                    if seen:
                        _add(grad_out[channel], grads, there, origin, stride, height, width)
                    else:
                        _load(grad_out[channel], grads, there, origin, stride, height, width)
                    seen = True
            for k in range(head_targets.size):
                if head_targets[k] == here:
                    run_pointwise(
                        grads,
                        extra,
                        head_columns[k],
                        nothing,
                        origin,
                        stride,
                        np.full(1, there),
                        grads,
                        origin,
                        stride,
                        height,
                        width,
                    )
        run_segment(
            grads,
            mirror_source,
            mirror_taps,
            first,
            last,
            dilation,
            there,
            start,
            nb.float32(0.0),
            gate,
            planes,
            here,
            origin,
            stride,
            -grown,
            height + grown,
            -grown,
            width + grown,
        )
        if row + 1 < mirror_segments.shape[0] and mirror_segments[row + 1, 0] == plane:
            continue
        if mode != ZEROS:
            fold_border(grads, there, origin, stride, height, width, border, mode)
        if at == 0:  # a plane of the input
            _unload(grads, there, grad_in[plane], origin, stride, height, width)
            continue
        at -= 1
        grad_bias[at] += plane_sum(grads, there, origin, stride, height, width)
        tap_gradients(
            planes,
            grads,
            source,
            segments[at, 2],
            segments[at, 3],
            segments[at, 1],
            there,
            origin,
            stride,
            height,
            width,
            grad_taps,
        )
    restore_denormals(state)
