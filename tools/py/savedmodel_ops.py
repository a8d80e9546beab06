"""One signature for each operation that convert/savedmodel maps, and signatures that it refuses; made by make_savedmodels.py."""

import numpy as np
import tensorflow as tf

raw = tf.raw_ops
F32, I32, I64, F64, BOOL = tf.float32, tf.int32, tf.int64, tf.float64, tf.bool


def real(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).normal(size=shape).astype(np.float32)


def positive(*shape):
    return np.abs(real(*shape)) + np.float32(0.1)


def whole(high, *shape, dtype=np.int32):
    return np.random.default_rng(high + len(shape)).integers(0, high, shape).astype(dtype)


def table():
    """Operations by name: (function, inputs). The signatures leave the first dimension of each input open."""
    x, y, p = real(2, 3, 4), real(2, 3, 4) * np.float32(0.5), positive(2, 3, 4)
    i, j = whole(9, 2, 3), whole(5, 2, 3) + 1
    b, c = whole(2, 2, 3).astype(bool), whole(2, 3).astype(bool)
    img = real(2, 7, 9, 4)
    t = {}
    for name in ("Neg", "Abs", "Sign", "Square", "Tanh", "Sigmoid", "Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign", "Erf", "Exp",
                 "Floor", "Ceil", "Round", "Rint", "Sin", "Cos", "Atan", "Softmax", "LogSoftmax", "IsNan", "IsInf", "IsFinite", "ZerosLike", "OnesLike",
                 "Expm1"):
        arg = {"Softmax": "logits", "LogSoftmax": "logits"}.get(name)
        if arg is None:
            arg = "features" if name in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign") else "x"
        t[name] = (lambda v, name=name, arg=arg: getattr(raw, name)(**{arg: v}), [x])
    for name in ("Sqrt", "Rsqrt", "Log", "Log1p", "Reciprocal", "Inv"):
        t[name] = (lambda v, name=name: getattr(raw, name)(x=v), [p])
    t["LeakyRelu"] = (lambda v: raw.LeakyRelu(features=v, alpha=0.3), [x])
    for name in ("AddV2", "Add", "Sub", "Mul", "RealDiv", "Div", "SquaredDifference", "Maximum", "Minimum", "Less", "LessEqual", "Greater", "GreaterEqual",
                 "Equal", "NotEqual", "DivNoNan", "MulNoNan"):
        t[name] = (lambda v, w, name=name: getattr(raw, name)(x=v, y=w), [x, real(3, 1)])
    t["Pow"] = (lambda v, w: raw.Pow(x=v, y=w), [p, y])
    for name in ("FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod", "Mod"):
        t[name + "_int"] = (lambda v, w, name=name: getattr(raw, name)(x=v, y=w), [i - 4, j * np.array([1, -1, 1], np.int32)])
    t["FloorDiv"] = (lambda v, w: raw.FloorDiv(x=v, y=w), [x, p])
    t["FloorMod"] = (lambda v, w: raw.FloorMod(x=v, y=w), [x, p])
    t["Mul_int"] = (lambda v, w: raw.Mul(x=v, y=w), [i, j])
    t["Sub_i64"] = (lambda v, w: raw.Sub(x=v, y=w), [i.astype(np.int64), j.astype(np.int64)])
    t["Add_f64"] = (lambda v, w: raw.AddV2(x=v, y=w), [x.astype(np.float64), y.astype(np.float64)])
    t["LogicalAnd"] = (lambda v, w: raw.LogicalAnd(x=v, y=w), [b, c])
    t["LogicalOr"] = (lambda v, w: raw.LogicalOr(x=v, y=w), [b, c])
    t["LogicalNot"] = (lambda v: raw.LogicalNot(x=v), [b])
    t["AddN"] = (lambda v, w: raw.AddN(inputs=[v, w, v]), [x, y])
    t["ClipByValue"] = (lambda v: raw.ClipByValue(t=v, clip_value_min=-0.3, clip_value_max=0.6), [x])
    t["MatMul"] = (lambda v, w: raw.MatMul(a=v, b=w), [real(3, 4), real(4, 5)])
    t["MatMul_ta"] = (lambda v, w: raw.MatMul(a=v, b=w, transpose_a=True), [real(4, 3), real(4, 5)])
    t["MatMul_tb"] = (lambda v, w: raw.MatMul(a=v, b=w, transpose_b=True), [real(3, 4), real(5, 4)])
    t["BatchMatMulV2"] = (lambda v, w: raw.BatchMatMulV2(x=v, y=w), [real(2, 3, 4), real(1, 4, 5)])
    t["BatchMatMulV2_adj"] = (lambda v, w: raw.BatchMatMulV2(x=v, y=w, adj_x=True, adj_y=True), [real(2, 4, 3), real(2, 5, 4)])
    t["BiasAdd"] = (lambda v: tf.nn.bias_add(v, real(4)), [img])
    t["BiasAdd_nchw"] = (lambda v: raw.BiasAdd(value=v, bias=real(7), data_format="NCHW"), [img])
    for e in ("abc,cd->abd", "abcd,aecd->acbe", "ab,ab->", "...ij,jk->...ik", "aii->ai"):
        n = len(t)
        args = {"abc,cd->abd": [x, real(4, 5)], "abcd,aecd->acbe": [real(2, 3, 4, 5), real(2, 6, 4, 5)], "ab,ab->": [real(3, 4), real(3, 4)],
                "...ij,jk->...ik": [x, real(4, 2)], "aii->ai": [real(2, 3, 3)]}[e]
        t[f"Einsum_{n}"] = (lambda *v, e=e: raw.Einsum(inputs=list(v), equation=e), args)
    for name in ("Mean", "Sum", "Max", "Min", "Prod"):
        for keep in (False, True):
            t[f"{name}_{keep}"] = (lambda v, name=name, keep=keep: getattr(raw, name)(input=v, axis=[-1, 0], keep_dims=keep), [x])
    t["Sum_int"] = (lambda v: raw.Sum(input=v, axis=1), [i])
    t["Mean_all"] = (lambda v: tf.reduce_mean(v), [x])
    t["Sum_none"] = (lambda v: raw.Sum(input=v, axis=np.zeros(0, np.int32)), [x])
    t["All"] = (lambda v: raw.All(input=v, axis=1), [b])
    t["Any"] = (lambda v: raw.Any(input=v, axis=[0, 1], keep_dims=True), [b])
    t["ArgMax"] = (lambda v: raw.ArgMax(input=v, dimension=-1), [x])
    t["ArgMin_32"] = (lambda v: raw.ArgMin(input=v, dimension=1, output_type=I32), [x])
    t["Cumsum"] = (lambda v: raw.Cumsum(x=v, axis=1), [x])
    t["Cumsum_er"] = (lambda v: raw.Cumsum(x=v, axis=-1, exclusive=True, reverse=True), [i])
    t["TopKV2"] = (lambda v: tuple(raw.TopKV2(input=v, k=2)), [x])
    for to in (I32, I64, F64, tf.float16, BOOL):
        t[f"Cast_{to.name}"] = (lambda v, to=to: tf.cast(raw.Cast(x=v, DstT=to), F32), [x * 4])
    t["Reshape"] = (lambda v: raw.Reshape(tensor=v, shape=[3, -1]), [x])
    t["Reshape_dynamic"] = (lambda v: tf.reshape(v, tf.stack([tf.shape(v)[0] * tf.shape(v)[1], tf.shape(v)[2]])), [x])
    t["Reshape_zero"] = (lambda v: tf.reshape(v[:0], [0, 6, 2]), [x])
    t["Transpose"] = (lambda v: raw.Transpose(x=v, perm=[2, 0, 1]), [x])
    t["ExpandDims"] = (lambda v: raw.ExpandDims(input=v, axis=-2), [x])
    t["Squeeze"] = (lambda v: raw.Squeeze(input=tf.ensure_shape(v, [2, 1, 3, 1])), [real(2, 1, 3, 1)])
    t["Squeeze_axis"] = (lambda v: raw.Squeeze(input=v, axis=[1, -1]), [real(2, 1, 3, 1)])
    t["Shape"] = (lambda v: raw.Shape(input=v), [x])
    t["Shape_64"] = (lambda v: raw.Shape(input=v, out_type=I64), [x])
    t["Size"] = (lambda v: raw.Size(input=v), [x])
    t["Rank"] = (lambda v: raw.Rank(input=v), [x])
    t["StridedSlice_plain"] = (lambda v: v[:, 1:, ::2], [x])
    t["StridedSlice_shrink"] = (lambda v: v[1, :, -1], [x])
    t["StridedSlice_new"] = (lambda v: v[:, tf.newaxis, 0:2, tf.newaxis], [x])
    t["StridedSlice_ellipsis"] = (lambda v: v[..., 1:3], [x])
    t["StridedSlice_mixed"] = (lambda v: v[1:, ..., tf.newaxis, -1], [x])
    t["StridedSlice_back"] = (lambda v: v[::-1, ::-2, 3:0:-1], [x])
    t["StridedSlice_last"] = (lambda v: v[-1:], [x])
    t["StridedSlice_dynamic"] = (lambda v: v[:, :tf.shape(v)[2] - 2], [x])
    t["StridedSlice_dynamic_shrink"] = (lambda v: v[tf.shape(v)[0] - 1], [x])
    t["Slice"] = (lambda v: raw.Slice(input=v, begin=[0, 1, 1], size=[-1, 2, 2]), [x])
    t["Slice_dynamic"] = (lambda v: tf.slice(v, [0, 0, 1], tf.stack([tf.shape(v)[0], 1, -1])), [x])
    t["Pack"] = (lambda v, w: raw.Pack(values=[v, w, v], axis=1), [x, y])
    t["Pack_last"] = (lambda v, w: raw.Pack(values=[v, w], axis=-1), [x, y])
    t["Unpack"] = (lambda v: tuple(raw.Unpack(value=v, num=3, axis=1)), [x])
    t["ConcatV2"] = (lambda v, w: raw.ConcatV2(values=[v, w], axis=-1), [x, y])
    t["Concat"] = (lambda v, w: raw.Concat(concat_dim=1, values=[v, w]), [x, y])
    t["Split"] = (lambda v: tuple(raw.Split(axis=2, value=v, num_split=2)), [x])
    t["SplitV"] = (lambda v: tuple(raw.SplitV(value=v, size_splits=[1, -1], axis=2, num_split=2)), [x])
    t["Gather"] = (lambda v: raw.Gather(params=v, indices=[[1, 0], [1, 1]]), [x])
    t["GatherV2"] = (lambda v, k: raw.GatherV2(params=v, indices=k, axis=1), [x, whole(3, 4)])
    t["GatherV2_batch"] = (lambda v, k: raw.GatherV2(params=v, indices=k, axis=1, batch_dims=1), [x, whole(3, 2, 2)])
    t["GatherV2_batch_last"] = (lambda v, k: raw.GatherV2(params=v, indices=k, axis=2, batch_dims=1), [x, whole(4, 2, 2)])
    t["GatherNd"] = (lambda v, k: raw.GatherNd(params=v, indices=k), [x, whole(2, 5, 2)])
    t["OneHot"] = (lambda k: raw.OneHot(indices=k, depth=4, on_value=2.0, off_value=-1.0), [whole(5, 2, 3)])
    t["OneHot_axis"] = (lambda k: raw.OneHot(indices=k, depth=4, on_value=1, off_value=0, axis=0), [whole(5, 2, 3)])
    t["Range"] = (lambda v: tf.range(tf.shape(v)[2], 0, -2), [x])
    t["Range_real"] = (lambda v: raw.Range(start=0.0, limit=tf.reduce_sum(tf.ones_like(v)), delta=0.5), [real(3)])
    t["Tile"] = (lambda v: raw.Tile(input=v, multiples=[1, 2, 3]), [x])
    t["Fill"] = (lambda v: raw.Fill(dims=tf.shape(v)[:2], value=7.0), [x])
    t["BroadcastTo"] = (lambda v: raw.BroadcastTo(input=v, shape=[2, 2, 3, 4]), [real(2, 1, 4)])
    t["BroadcastArgs"] = (lambda v: tf.broadcast_to(v, tf.broadcast_dynamic_shape(tf.shape(v), tf.constant([3, 1]))), [real(3, 1)])
    t["SelectV2"] = (lambda k, v, w: raw.SelectV2(condition=k, t=v, e=w), [b[:, :, None], x, y])
    t["Select"] = (lambda k, v, w: raw.Select(condition=k, x=v, y=w), [np.array([True, False]), x, y])
    t["Where"] = (lambda k: raw.Where(condition=k), [b])
    t["Pad"] = (lambda v: raw.Pad(input=v, paddings=[[0, 0], [1, 2], [0, 1]]), [x])
    t["PadV2"] = (lambda v: raw.PadV2(input=v, paddings=[[0, 0], [1, 2], [0, 1]], constant_values=3.0), [x])
    t["MirrorPad"] = (lambda v: raw.MirrorPad(input=v, paddings=[[0, 0], [1, 2], [0, 1]], mode="REFLECT"), [x])
    t["MatrixBandPart"] = (lambda v: raw.MatrixBandPart(input=v, num_lower=1, num_upper=0), [real(2, 4, 5)])
    t["MatrixBandPart_causal"] = (lambda v: raw.MatrixBandPart(input=v, num_lower=-1, num_upper=0), [real(4, 4)])
    t["ReverseV2"] = (lambda v: raw.ReverseV2(tensor=v, axis=[1, -1]), [x])
    t["Conv2D_same"] = (lambda v: raw.Conv2D(input=v, filter=real(3, 2, 4, 5), strides=[1, 2, 3, 1], padding="SAME"), [img])
    t["Conv2D_valid"] = (lambda v: raw.Conv2D(input=v, filter=real(3, 3, 4, 5), strides=[1, 1, 1, 1], padding="VALID", dilations=[1, 2, 2, 1]), [img])
    t["Conv2D_explicit"] = (lambda v: raw.Conv2D(input=v, filter=real(3, 3, 4, 5), strides=[1, 1, 1, 1], padding="EXPLICIT",
                                                 explicit_paddings=[0, 0, 1, 2, 0, 1, 0, 0]), [img])
    t["Conv2D_groups"] = (lambda v: raw.Conv2D(input=v, filter=real(3, 3, 2, 6), strides=[1, 1, 1, 1], padding="SAME"), [img])
    t["Conv1D"] = (lambda v: tf.nn.conv1d(v, real(3, 4, 5), 2, "SAME"), [x])
    t["Conv1D_dilated"] = (lambda v: tf.nn.convolution(v, real(3, 4, 5), dilations=2, padding="SAME"), [real(2, 9, 4)])
    t["DepthwiseConv2dNative"] = (lambda v: raw.DepthwiseConv2dNative(input=v, filter=real(3, 3, 4, 2), strides=[1, 2, 2, 1], padding="SAME"), [img])
    t["MaxPool"] = (lambda v: raw.MaxPool(input=v, ksize=[1, 2, 3, 1], strides=[1, 2, 2, 1], padding="SAME"), [img])
    t["MaxPool_valid"] = (lambda v: raw.MaxPool(input=v, ksize=[1, 2, 3, 1], strides=[1, 1, 2, 1], padding="VALID"), [img])
    t["AvgPool"] = (lambda v: raw.AvgPool(value=v, ksize=[1, 2, 3, 1], strides=[1, 2, 2, 1], padding="SAME"), [img])
    t["FusedBatchNormV3"] = (lambda v: raw.FusedBatchNormV3(x=v, scale=positive(4), offset=real(4), mean=real(4), variance=positive(4),
                                                            is_training=False, epsilon=1e-3)[0], [img])
    t["SpaceToDepth"] = (lambda v: raw.SpaceToDepth(input=v, block_size=2), [real(2, 4, 6, 3)])
    t["DepthToSpace"] = (lambda v: raw.DepthToSpace(input=v, block_size=2), [real(2, 3, 4, 8)])
    t["L2Normalize"] = (lambda v: tf.nn.l2_normalize(v, -1), [x])
    t["Gelu"] = (lambda v: tf.nn.gelu(v), [x])
    t["Unique_constants"] = (lambda v: v + tf.constant(np.arange(12, dtype=np.float32).reshape(3, 4)), [x])
    t["Const_64"] = (lambda v: tf.cast(v, F64) + tf.constant(0.1, F64), [x])
    t["Const_bool"] = (lambda v: tf.where(tf.constant([True, False, True, True]), v, -v), [x])
    t["Const_half"] = (lambda v: tf.cast(tf.cast(v, tf.float16) + tf.constant([1, 2, 3, 4], tf.float16), F32), [np.round(x)])
    t["EnsureShape"] = (lambda v: raw.EnsureShape(input=v, shape=[2, None, 4]), [x])
    t["StopGradient"] = (lambda v: tf.stop_gradient(v), [x])
    t["Nested"] = (nested, [x])
    t["InputIsOutput"] = (lambda v: v, [x])
    t["ConstantOutput"] = (lambda v: tf.constant([1.0, 2.0]), [x])
    t["TwoOutputsOfOne"] = (lambda v: (v * 2,) * 2, [x])
    t["Zeros"] = (lambda v: tf.zeros([tf.shape(v)[0], 3]) + tf.ones([3]), [x])
    t["Xlogy"] = (lambda v, w: raw.Xlogy(x=v, y=w), [np.array([[0, 1], [2, 0]], np.float32), np.array([[0, 3], [0.5, 2]], np.float32)])
    t["Erfc"] = (lambda v: raw.Erfc(x=v), [x])
    t["EuclideanNorm"] = (lambda v: raw.EuclideanNorm(input=v, axis=[1]), [x])
    t["Conv2D_dilated"] = (lambda v: tf.nn.convolution(v, real(3, 3, 4, 5), dilations=[2, 3], padding="SAME"), [img])
    t["FusedBatchNorm_batch"] = (lambda v: raw.FusedBatchNormV3(x=v, scale=positive(4), offset=real(4), mean=[], variance=[], is_training=True)[0], [img])
    t["ResizeBilinear"] = (lambda v: raw.ResizeBilinear(images=v, size=[9, 5], half_pixel_centers=True), [img])
    t["ResizeBilinear_corners"] = (lambda v: raw.ResizeBilinear(images=v, size=[9, 5], align_corners=True), [img])
    t["ResizeNearest"] = (lambda v: raw.ResizeNearestNeighbor(images=v, size=tf.shape(v)[1:3] * 2), [img])
    t["ResizeNearest_half"] = (lambda v: raw.ResizeNearestNeighbor(images=v, size=[5, 14], half_pixel_centers=True), [img])
    t["ResizeNearest_corners"] = (lambda v: raw.ResizeNearestNeighbor(images=v, size=[5, 14], align_corners=True), [img])
    t["MatrixDiagV3"] = (lambda v: tf.linalg.diag(v), [x])
    t["Eye"] = (lambda v: v[:, :, :3] + tf.eye(3), [x])
    t["Eye_dynamic"] = (lambda v: tf.eye(tf.shape(v)[0]), [x])
    t["Bucketize"] = (lambda v: raw.Bucketize(input=v, boundaries=[-1.0, 0.0, 0.5]), [x])
    t["ScatterNd"] = (lambda k, v: raw.ScatterNd(indices=k, updates=v, shape=[5, 3]), [np.array([[1], [4], [1]], np.int32), real(3, 3)])
    t["TensorScatterUpdate"] = (lambda v, w: raw.TensorScatterUpdate(tensor=v, indices=[[1], [0]], updates=w), [x, real(2, 3, 4)])
    t["TensorScatterAdd"] = (lambda v, w: raw.TensorScatterAdd(tensor=v, indices=[[1], [1]], updates=w), [x, real(2, 3, 4)])
    t["While"] = (lambda v: tf.while_loop(lambda i, a: i < tf.shape(v)[1], lambda i, a: (i + 1, a + v[:, i]), (0, tf.zeros_like(v[:, 0])))[1], [x])
    t["If"] = (lambda v: tf.cond(tf.shape(v)[1] > 2, lambda: v * 2, lambda: v), [x])
    t["Map"] = (lambda v: tf.transpose(tf.map_fn(lambda r: r * 2 + 1, tf.transpose(v, [1, 0, 2])), [1, 0, 2]), [x])
    t["Scan"] = (lambda v: tf.scan(lambda a, r: a * 0.5 + r, tf.transpose(v, [1, 0, 2])), [x])
    t["Select_bool"] = (lambda k, v: tf.where(k, v, ~v), [b, c])
    t["OneHot_bool"] = (lambda k: tf.one_hot(k - 1, 4, on_value=True, off_value=False), [whole(5, 2, 3)])
    t["Pad_dynamic"] = (lambda v: tf.pad(v, [[0, 0], [0, tf.shape(v)[2] - 3], [1, 0]]), [x])
    t["Tile_dynamic"] = (lambda v: tf.tile(v, [1, tf.shape(v)[0], 1]), [x])
    t["SplitV_dynamic"] = (lambda v: tuple(raw.SplitV(value=v, size_splits=[-1, 1], axis=0, num_split=2)), [x])
    t["Transpose_computed"] = (lambda v: tf.transpose(v, tf.range(tf.rank(v))[::-1]), [x])
    t["Fill_bool"] = (lambda v: tf.logical_and(tf.fill(tf.shape(v), True), v > 0), [x])
    t["Const_same"] = (lambda v: v + tf.fill([300, 2, 3, 4], 0.5)[:1, 0] + tf.constant(np.full((40, 1, 3, 4), 2, np.float32))[0], [x])
    t["LayerNorm"] = (layer_norm, [x])
    t["Moments"] = (lambda v: tuple(tf.nn.moments(v, [1])), [x])
    return t


def floats(*v, dtype=np.float32):
    return np.array(v, dtype)


def corners(m):
    """What table() leaves out: rarer operations, and inputs at which a simple mapping would differ. Outputs of names that end in _relative are
    compared number by number. The module m keeps the variables."""
    x, img = real(2, 3, 4), real(2, 3, 3, 4)
    m.w = tf.Variable(real(5, 4), name="w")
    signs, bools, yes = floats(-7.5, 7.5, 1e4, -2), np.array([[True, False], [False, False]]), np.array([False, True, True])
    t = {"serving_default": (lambda v: -v, [x])}
    for name in ("Acos", "Asin", "Asinh", "Atanh", "Sinh", "Cosh", "Tan", "Acosh", "Atan", "Erf"):
        for dtype in (np.float32, np.float64):
            v = floats(0.1, 0.5, 0.9, dtype=dtype) + dtype(name == "Acosh")
            t[f"{name}_{np.dtype(dtype).name}"] = (lambda v, name=name: getattr(raw, name)(x=v), [v])
    t["BatchMatMul"] = (lambda v, w: raw.BatchMatMul(x=v, y=w, adj_y=True), [real(2, 3, 4), real(2, 5, 4)])
    t["BatchMatMulV3"] = (lambda v, w: raw.BatchMatMulV3(x=v, y=w, Tout=F32), [real(2, 3, 4), real(1, 4, 5)])
    t["BiasAddV1"] = (lambda v: raw.BiasAddV1(value=v, bias=real(4)), [x])
    t["EmptyTensorList"] = (pushed, [x])
    for name in ("FusedBatchNorm", "FusedBatchNormV2"):
        t[name] = (lambda v, name=name: getattr(raw, name)(x=v, scale=positive(4), offset=real(4), mean=real(4), variance=positive(4), is_training=False)[0], [img])
    for name in ("FusedBatchNormV2", "FusedBatchNormV3"):
        t[name + "_half"] = (lambda v, name=name: tf.cast(getattr(raw, name)(x=tf.cast(v, tf.float16), scale=positive(4), offset=real(4), mean=real(4), variance=positive(4),
                                                                             is_training=False)[0], F32), [np.round(img)])
    t["InvertPermutation"] = (lambda v: tf.transpose(v, raw.InvertPermutation(x=tf.constant([2, 0, 1]))), [x])
    t["MatrixDiag"] = (lambda v: raw.MatrixDiag(diagonal=v), [x])
    t["MatrixDiagV2"] = (lambda v: raw.MatrixDiagV2(diagonal=v, k=0, num_rows=-1, num_cols=-1, padding_value=7.0), [x])
    t["ResourceGatherNd"] = (lambda k: raw.ResourceGatherNd(resource=m.w.handle, indices=k, dtype=F32), [whole(4, 3, 2)])
    t["VariableShape"] = (lambda v: tf.reshape(v, tf.concat([[-1], raw.VariableShape(input=m.w.handle)[1:]], 0)), [x])
    t["If_variable"] = (lambda v: tf.cond(tf.shape(v)[1] > 2, lambda: v * m.w[0], lambda: v), [x])
    t["ShapeN"] = (lambda v, w: tuple(raw.ShapeN(input=[v, w])), [x, real(3, 1)])
    t["TruncateDiv"] = (lambda v: raw.TruncateDiv(x=v, y=tf.constant([2.0, 2.0, 3.0, -3.0])), [signs])
    t["FloorMod_relative"] = (lambda v, w: raw.FloorMod(x=v, y=w), [floats(1e4, -1e4, 1e6, 5, -5, 6, -6, 0), floats(0.3, 0.3, 0.7, -3, 3, -3, 3, 2)])
    t["FloorMod_64"] = (lambda v, w: raw.FloorMod(x=v, y=w), [floats(1e9, -5.5, dtype=np.float64), floats(0.3, 2, dtype=np.float64)])
    for name in ("Any", "All"):
        t[name + "_empty"] = (lambda v, name=name: getattr(raw, name)(input=v[:, :0], axis=1), [bools])
    t["Any_some"] = (lambda v: raw.Any(input=v, axis=1), [bools])
    t["Mean_empty"] = (lambda v: raw.Mean(input=v[:, :0], axis=1), [x])
    t["Mean_open"] = (lambda v: raw.Mean(input=v, axis=[0, 2]), [x])
    t["Mean_open_empty"] = (lambda v: raw.Mean(input=v, axis=[0]), [x[:0]])
    t["Bucketize_64"] = (lambda v: raw.Bucketize(input=v, boundaries=[-1.0, 0.1]), [floats(-1 - 1e-12, -1, 0.1, np.float32(0.1), dtype=np.float64)])
    t["Bucketize_nan"] = (lambda v: raw.Bucketize(input=v, boundaries=[-1.0, 0.5]), [floats(0, np.nan, np.inf, -np.inf)])
    t["Bucketize_int"] = (lambda v: raw.Bucketize(input=v, boundaries=[-1.0, 0.5]), [np.array([-2, -1, 0, 1], np.int32)])
    t["Cast_wraps"] = (lambda v: tf.one_hot(tf.cast(v, I32), 4), [np.array([2**32 + 3, 1, -(2**32)], np.int64)])
    for dtype in (np.uint8, np.int32):
        t[f"ResizeBilinear_{np.dtype(dtype).name}"] = (lambda v: raw.ResizeBilinear(images=v, size=[5, 4], half_pixel_centers=True), [whole(200, 1, 3, 3, 2, dtype=dtype)])
    t["Select_int8"] = (lambda k, v: tf.cast(tf.where(k, v, tf.zeros_like(v)), I32), [yes, np.array([1, -2, 3], np.int8)])
    t["Log1p_relative"] = (lambda v: raw.Log1p(x=v), [floats(1e-8, -1e-6, 1e-4, -0.5, 1, 1e30, np.inf, 0)])
    t["Expm1_relative"] = (lambda v: raw.Expm1(x=v), [floats(1e-8, -1e-6, 1e-4, -0.5, 1, 50, -100, 0)])
    t["Erfc_relative"] = (lambda v: raw.Erfc(x=v), [floats(-3, -0.5, -1e-4, 0, 0.3, 1, 4, 6, 8)])
    return t


def pushed(v):
    """A list that begins empty, and how long it is in the end."""
    rows = raw.EmptyTensorList(element_shape=[4], max_num_elements=-1, element_dtype=F32)
    for n in range(3):
        rows = raw.TensorListPushBack(input_handle=rows, tensor=v[0, n])
    return raw.TensorListStack(input_handle=rows, element_shape=[4], element_dtype=F32), raw.TensorListLength(input_handle=rows)


@tf.function
def inner(v):
    return v + 1


@tf.function
def nested(v):
    return inner(inner(v) * 2)


def layer_norm(v):
    mean, var = tf.nn.moments(v, [-1], keepdims=True)
    return tf.nn.batch_normalization(v, mean, var, real(4), positive(4), 1e-12)


def write(folder, cases, module=None):
    from make_savedmodels import served
    signatures = {}
    for name, (f, inputs) in cases.items():
        specs = [tf.TensorSpec([None, *v.shape[1:]], tf.as_dtype(v.dtype), f"x{n}") for n, v in enumerate(inputs)]

        def serve(*given, f=f):
            out = f(*given)
            out = out if isinstance(out, tuple) else (out,)
            return {f"y{n}": v for n, v in enumerate(out)}

        signatures[name] = tf.function(serve, input_signature=specs)
    tf.saved_model.save(module or tf.Module(), str(folder), signatures=signatures)
    served(folder, [(name, {f"x{n}": v for n, v in enumerate(inputs)}) for name, (_, inputs) in cases.items()])


def ops_1(folder):
    write(folder, dict(list(table().items())[::3]))


def ops_2(folder):
    write(folder, dict(list(table().items())[1::3]))


def ops_3(folder):
    write(folder, dict(list(table().items())[2::3]))


def ops_4(folder):
    m = tf.Module()
    write(folder, corners(m), m)


def refused(folder):
    m = tf.Module()
    m.count = tf.Variable(0.0, name="count")
    m.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
    x = tf.TensorSpec([None], F32, "x")

    def assign(x):
        m.count.assign_add(1.0)
        return {"y": x + m.count}

    def loop(x):
        return {"y": tf.while_loop(lambda v: tf.reduce_sum(v) < 10, lambda v: (v + 1,), (x,))[0]}

    def branch(x):
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)}

    functions = {
        "assign": (assign, x),
        "loop": (loop, x),
        "branch": (branch, x),
        "table": (lambda x: {"y": m.table.lookup(x)}, tf.TensorSpec([None], tf.string, "x")),
        "text": (lambda x: {"y": tf.strings.lower(x)}, tf.TensorSpec([None], tf.string, "x")),
        "random": (lambda x: {"y": x + tf.random.uniform(tf.shape(x))}, x),
        "fine": (lambda x: {"y": x * 2}, x),
    }
    tf.saved_model.save(m, str(folder), signatures={k: tf.function(f, input_signature=[s]) for k, (f, s) in functions.items()})
