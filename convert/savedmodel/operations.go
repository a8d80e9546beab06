package savedmodel

// many is any number of inputs.
const many = -1

// operations is how each operation of TensorFlow is written in ONNX. What is not here is refused by name.
var operations = map[string]operation{
	// Values.
	"Const":            {0, 0, constOp},
	"ReadVariableOp":   {1, 1, same},
	"VariableShape":    {1, 1, shapeOp},
	"EnsureShape":      {1, 1, ensureShape},
	"Cast":             {1, 1, castOp},
	"ZerosLike":        {1, 1, fillLike(0)},
	"OnesLike":         {1, 1, fillLike(1)},
	"Fill":             {2, 2, fillOp},
	"Range":            {3, 3, rangeOp},
	"BroadcastTo":      {2, 2, broadcastTo},
	"BroadcastArgs":    {2, 2, broadcastArgs},
	"Tile":             {2, 2, tile},
	"ResourceGather":   {2, 2, gather},
	"ResourceGatherNd": {2, 2, gatherND},

	// Elementwise, one input.
	"Neg": {1, 1, unary("Neg")}, "Abs": {1, 1, unary("Abs")}, "Sign": {1, 1, unary("Sign")}, "Exp": {1, 1, unary("Exp")}, "Log": {1, 1, unary("Log")},
	"Sqrt": {1, 1, unary("Sqrt")}, "Tanh": {1, 1, unary("Tanh")}, "Sigmoid": {1, 1, unary("Sigmoid")}, "Relu": {1, 1, unary("Relu")},
	"Selu": {1, 1, unary("Selu")}, "Elu": {1, 1, unary("Elu")}, "Softplus": {1, 1, unary("Softplus")}, "Softsign": {1, 1, unary("Softsign")},
	"Erf": {1, 1, unary("Erf")}, "Floor": {1, 1, unary("Floor")}, "Ceil": {1, 1, unary("Ceil")}, "Round": {1, 1, unary("Round")}, "Rint": {1, 1, unary("Round")},
	"Sin": {1, 1, unary("Sin")}, "Cos": {1, 1, unary("Cos")}, "Tan": {1, 1, unary("Tan")}, "Asin": {1, 1, unary("Asin")}, "Acos": {1, 1, unary("Acos")},
	"Atan": {1, 1, unary("Atan")}, "Sinh": {1, 1, unary("Sinh")}, "Cosh": {1, 1, unary("Cosh")}, "Asinh": {1, 1, unary("Asinh")},
	"Acosh": {1, 1, unary("Acosh")}, "Atanh": {1, 1, unary("Atanh")}, "Reciprocal": {1, 1, unary("Reciprocal")}, "Inv": {1, 1, unary("Reciprocal")},
	"LogicalNot": {1, 1, unary("Not")},
	"Rsqrt":      {1, 1, rsqrt}, "Square": {1, 1, square}, "Log1p": {1, 1, log1p}, "Expm1": {1, 1, expm1}, "Erfc": {1, 1, erfc},
	"Relu6": {1, 1, relu6}, "LeakyRelu": {1, 1, leakyRelu}, "IsNan": {1, 1, test("IsNaN")}, "IsInf": {1, 1, test("IsInf")}, "IsFinite": {1, 1, isFinite},
	"Softmax": {1, 1, lastAxis("Softmax")}, "LogSoftmax": {1, 1, lastAxis("LogSoftmax")},

	// Elementwise, several inputs.
	"Add": {2, 2, pairwise("Add")}, "AddV2": {2, 2, pairwise("Add")}, "Sub": {2, 2, pairwise("Sub")}, "Mul": {2, 2, pairwise("Mul")},
	"RealDiv": {2, 2, pairwise("Div")}, "Div": {2, 2, pairwise("Div")}, "TruncateDiv": {2, 2, pairwise("Div")}, "Pow": {2, 2, pairwise("Pow")},
	"Maximum": {2, 2, pairwise("Max")}, "Minimum": {2, 2, pairwise("Min")}, "SquaredDifference": {2, 2, squaredDifference},
	"FloorDiv": {2, 2, floorDiv}, "FloorMod": {2, 2, floorMod}, "Mod": {2, 2, truncateMod}, "TruncateMod": {2, 2, truncateMod},
	"DivNoNan": {2, 2, divNoNan}, "MulNoNan": {2, 2, mulNoNan}, "Xlogy": {2, 2, xlogy},
	"AddN": {1, many, addN}, "ClipByValue": {3, 3, clip},
	"Less": {2, 2, compare("Less")}, "LessEqual": {2, 2, compare("LessOrEqual")}, "Greater": {2, 2, compare("Greater")},
	"GreaterEqual": {2, 2, compare("GreaterOrEqual")}, "Equal": {2, 2, compare("Equal")}, "NotEqual": {2, 2, notEqual},
	"LogicalAnd": {2, 2, compare("And")}, "LogicalOr": {2, 2, compare("Or")},
	"Select": {3, 3, selectOp}, "SelectV2": {3, 3, selectOp},

	// Matrices.
	"MatMul": {2, 2, matMul("transpose_a", "transpose_b")}, "BatchMatMul": {2, 2, matMul("adj_x", "adj_y")},
	"BatchMatMulV2": {2, 2, matMul("adj_x", "adj_y")}, "BatchMatMulV3": {2, 2, matMul("adj_x", "adj_y")},
	"Einsum": {1, many, einsum}, "BiasAdd": {2, 2, biasAdd}, "BiasAddV1": {2, 2, biasAdd}, "MatrixBandPart": {3, 3, matrixBandPart},

	// Reductions.
	"Sum": {2, 2, reduce("ReduceSum")}, "Mean": {2, 2, reduce("ReduceMean")}, "Max": {2, 2, reduce("ReduceMax")}, "Min": {2, 2, reduce("ReduceMin")},
	"Prod": {2, 2, reduce("ReduceProd")}, "All": {2, 2, reduce("ReduceMin")}, "Any": {2, 2, reduce("ReduceMax")},
	"EuclideanNorm": {2, 2, reduce("ReduceL2")},
	"ArgMax":        {2, 2, argOp("ArgMax")}, "ArgMin": {2, 2, argOp("ArgMin")}, "Cumsum": {2, 2, cumsum}, "TopKV2": {2, 2, topK},

	// Shapes.
	"Shape": {1, 1, shapeOp}, "ShapeN": {1, many, shapeOp}, "Size": {1, 1, sizeOp}, "Rank": {1, 1, rankOp},
	"Reshape": {2, 2, reshape}, "Transpose": {2, 2, transpose}, "ExpandDims": {2, 2, expandDims}, "Squeeze": {1, 1, squeeze},
	"InvertPermutation": {1, 1, invertPermutation}, "Pack": {1, many, pack}, "Unpack": {1, 1, unpackOp},
	"ConcatV2": {2, many, concat}, "Concat": {2, many, concat}, "Split": {2, 2, split}, "SplitV": {3, 3, splitV},
	"StridedSlice": {4, 4, stridedSlice}, "Slice": {3, 3, slice}, "Pad": {2, 2, pad}, "PadV2": {3, 3, pad}, "MirrorPad": {2, 2, pad}, "ReverseV2": {2, 2, reverse},

	// Selection.
	"Gather": {2, 2, gather}, "GatherV2": {3, 3, gather}, "GatherNd": {2, 2, gatherND}, "OneHot": {4, 4, oneHot}, "Where": {1, 1, where},

	// Images and sequences.
	"Conv2D": {2, 2, conv}, "DepthwiseConv2dNative": {2, 2, conv},
	"MaxPool": {1, 1, pool("MaxPool")}, "AvgPool": {1, 1, pool("AveragePool")},
	"FusedBatchNorm": {5, 5, batchNorm}, "FusedBatchNormV2": {5, 5, batchNorm}, "FusedBatchNormV3": {5, 5, batchNorm},
	"SpaceToBatchND": {3, 3, spaceToBatch}, "BatchToSpaceND": {3, 3, batchToSpace},
	"SpaceToDepth": {1, 1, blocks("SpaceToDepth")}, "DepthToSpace": {1, 1, blocks("DepthToSpace")},
	"ResizeBilinear": {2, 2, resize("linear")}, "ResizeNearestNeighbor": {2, 2, resize("nearest")},
}
