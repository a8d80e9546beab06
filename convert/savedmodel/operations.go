package savedmodel

// many is any number of inputs.
const many = -1

// operations is how each operation of TensorFlow is written in ONNX. What is not here is refused by name.
var operations = map[string]operation{
	// Values.
	"Const":            {0, 0, constOp, false},
	"ReadVariableOp":   {1, 1, same, false},
	"VariableShape":    {1, 1, shapeOp, false},
	"EnsureShape":      {1, 1, ensureShape, false},
	"Cast":             {1, 1, castOp, false},
	"ZerosLike":        {1, 1, fillLike(0), false},
	"OnesLike":         {1, 1, fillLike(1), false},
	"Fill":             {2, 2, fillOp, false},
	"Range":            {3, 3, rangeOp, false},
	"BroadcastTo":      {2, 2, broadcastTo, false},
	"BroadcastArgs":    {2, 2, broadcastArgs, false},
	"Tile":             {2, 2, tile, false},
	"ResourceGather":   {2, 2, gather, false},
	"ResourceGatherNd": {2, 2, gatherND, false},

	// Loops and branches of which it is known how they run, and what loops keep.
	"While": {0, many, whileOp, true}, "StatelessWhile": {0, many, whileOp, true}, "If": {1, many, ifOp, true}, "StatelessIf": {1, many, ifOp, true},
	"TensorListReserve": {2, 2, listReserve, false}, "EmptyTensorList": {2, 2, listEmpty, false}, "TensorListFromTensor": {2, 2, listFromTensor, false},
	"TensorListGetItem": {3, 3, listGet, true}, "TensorListSetItem": {3, 3, listSet, true}, "TensorListPushBack": {2, 2, listPush, true},
	"TensorListStack": {2, 2, listStack, true}, "TensorListLength": {1, 1, listLength, true},

	// Elementwise, one input.
	"Neg": {1, 1, unary("Neg"), false}, "Abs": {1, 1, unary("Abs"), false}, "Sign": {1, 1, unary("Sign"), false}, "Exp": {1, 1, unary("Exp"), false}, "Log": {1, 1, unary("Log"), false},
	"Sqrt": {1, 1, unary("Sqrt"), false}, "Tanh": {1, 1, unary("Tanh"), false}, "Sigmoid": {1, 1, unary("Sigmoid"), false}, "Relu": {1, 1, unary("Relu"), false},
	"Selu": {1, 1, unary("Selu"), false}, "Elu": {1, 1, unary("Elu"), false}, "Softplus": {1, 1, unary("Softplus"), false}, "Softsign": {1, 1, unary("Softsign"), false},
	"Erf": {1, 1, single("Erf"), false}, "Floor": {1, 1, unary("Floor"), false}, "Ceil": {1, 1, unary("Ceil"), false}, "Round": {1, 1, round, false}, "Rint": {1, 1, unary("Round"), false},
	"Sin": {1, 1, unary("Sin"), false}, "Cos": {1, 1, unary("Cos"), false}, "Tan": {1, 1, single("Tan"), false}, "Asin": {1, 1, single("Asin"), false}, "Acos": {1, 1, single("Acos"), false},
	"Atan": {1, 1, single("Atan"), false}, "Sinh": {1, 1, single("Sinh"), false}, "Cosh": {1, 1, single("Cosh"), false}, "Asinh": {1, 1, single("Asinh"), false},
	"Acosh": {1, 1, single("Acosh"), false}, "Atanh": {1, 1, single("Atanh"), false}, "Reciprocal": {1, 1, unary("Reciprocal"), false}, "Inv": {1, 1, unary("Reciprocal"), false},
	"LogicalNot": {1, 1, not, false},
	"Rsqrt":      {1, 1, rsqrt, false}, "Square": {1, 1, square, false}, "Log1p": {1, 1, log1p, false}, "Expm1": {1, 1, expm1, false}, "Erfc": {1, 1, erfc, false},
	"Relu6": {1, 1, relu6, false}, "LeakyRelu": {1, 1, leakyRelu, false}, "IsNan": {1, 1, test("IsNaN"), false}, "IsInf": {1, 1, test("IsInf"), false}, "IsFinite": {1, 1, isFinite, false},
	"Softmax": {1, 1, lastAxis("Softmax"), false}, "LogSoftmax": {1, 1, lastAxis("LogSoftmax"), false},

	// Elementwise, several inputs.
	"Add": {2, 2, pairwise("Add"), false}, "AddV2": {2, 2, pairwise("Add"), false}, "Sub": {2, 2, pairwise("Sub"), false}, "Mul": {2, 2, pairwise("Mul"), false},
	"RealDiv": {2, 2, pairwise("Div"), false}, "Div": {2, 2, pairwise("Div"), false}, "TruncateDiv": {2, 2, truncateDiv, false}, "Pow": {2, 2, pairwise("Pow"), false},
	"Maximum": {2, 2, pairwise("Max"), false}, "Minimum": {2, 2, pairwise("Min"), false}, "SquaredDifference": {2, 2, squaredDifference, false},
	"FloorDiv": {2, 2, floorDiv, false}, "FloorMod": {2, 2, floorMod, false}, "Mod": {2, 2, truncateMod, false}, "TruncateMod": {2, 2, truncateMod, false},
	"DivNoNan": {2, 2, divNoNan, false}, "MulNoNan": {2, 2, mulNoNan, false}, "Xlogy": {2, 2, xlogy, false},
	"AddN": {1, many, addN, false}, "ClipByValue": {3, 3, clip, false},
	"Less": {2, 2, compare("Less"), false}, "LessEqual": {2, 2, compare("LessOrEqual"), false}, "Greater": {2, 2, compare("Greater"), false},
	"GreaterEqual": {2, 2, compare("GreaterOrEqual"), false}, "Equal": {2, 2, compare("Equal"), false}, "NotEqual": {2, 2, notEqual, false},
	"LogicalAnd": {2, 2, compare("And"), false}, "LogicalOr": {2, 2, compare("Or"), false},
	"Select": {3, 3, selectOp, false}, "SelectV2": {3, 3, selectOp, false},

	// Matrices.
	"MatMul": {2, 2, matMul("transpose_a", "transpose_b"), false}, "BatchMatMul": {2, 2, matMul("adj_x", "adj_y"), false},
	"BatchMatMulV2": {2, 2, matMul("adj_x", "adj_y"), false}, "BatchMatMulV3": {2, 2, matMul("adj_x", "adj_y"), false},
	"Einsum": {1, many, einsum, false}, "BiasAdd": {2, 2, biasAdd, false}, "BiasAddV1": {2, 2, biasAdd, false}, "MatrixBandPart": {3, 3, matrixBandPart, false},

	// Reductions.
	"Sum": {2, 2, reduce("ReduceSum"), false}, "Mean": {2, 2, mean, false}, "Max": {2, 2, reduce("ReduceMax"), false}, "Min": {2, 2, reduce("ReduceMin"), false},
	"Prod": {2, 2, reduce("ReduceProd"), false}, "All": {2, 2, reduce("ReduceMin"), false}, "Any": {2, 2, reduce("ReduceSum"), false},
	"EuclideanNorm": {2, 2, reduce("ReduceL2"), false},
	"ArgMax":        {2, 2, argOp("ArgMax"), false}, "ArgMin": {2, 2, argOp("ArgMin"), false}, "Cumsum": {2, 2, cumsum, false}, "TopKV2": {2, 2, topK, false},

	// Shapes.
	"Shape": {1, 1, shapeOp, false}, "ShapeN": {1, many, shapeOp, false}, "Size": {1, 1, sizeOp, false}, "Rank": {1, 1, rankOp, false},
	"Reshape": {2, 2, reshape, false}, "Transpose": {2, 2, transpose, false}, "ExpandDims": {2, 2, expandDims, false}, "Squeeze": {1, 1, squeeze, false},
	"InvertPermutation": {1, 1, invertPermutation, false}, "Pack": {1, many, pack, false}, "Unpack": {1, 1, unpackOp, false},
	"ConcatV2": {2, many, concat, false}, "Concat": {2, many, concat, false}, "Split": {2, 2, split, false}, "SplitV": {3, 3, splitV, false},
	"StridedSlice": {4, 4, stridedSlice, false}, "Slice": {3, 3, slice, false}, "Pad": {2, 2, pad, false}, "PadV2": {3, 3, pad, false}, "MirrorPad": {2, 2, pad, false}, "ReverseV2": {2, 2, reverse, false},

	// Selection.
	"Gather": {2, 2, gather, false}, "GatherV2": {3, 3, gather, false}, "GatherNd": {2, 2, gatherND, false}, "OneHot": {4, 4, oneHot, false}, "Where": {1, 1, where, false},
	"MatrixDiag": {1, 1, diagonal, false}, "MatrixDiagV2": {5, 5, diagonal, false}, "MatrixDiagV3": {5, 5, diagonal, false}, "Bucketize": {1, 1, bucketize, false},
	"ScatterNd": {3, 3, scatterND, false}, "TensorScatterUpdate": {3, 3, scatterND, false}, "TensorScatterAdd": {3, 3, scatterND, false},

	// Images and sequences.
	"Conv2D": {2, 2, conv, false}, "DepthwiseConv2dNative": {2, 2, conv, false},
	"MaxPool": {1, 1, pool("MaxPool"), false}, "AvgPool": {1, 1, pool("AveragePool"), false},
	"FusedBatchNorm": {5, 5, batchNorm, false}, "FusedBatchNormV2": {5, 5, batchNorm, false}, "FusedBatchNormV3": {5, 5, batchNorm, false},
	"SpaceToBatchND": {3, 3, spaceToBatch, false}, "BatchToSpaceND": {3, 3, batchToSpace, false},
	"SpaceToDepth": {1, 1, blocks("SpaceToDepth"), false}, "DepthToSpace": {1, 1, blocks("DepthToSpace"), false},
	"ResizeBilinear": {2, 2, resize("linear"), false}, "ResizeNearestNeighbor": {2, 2, resize("nearest"), false},
}
