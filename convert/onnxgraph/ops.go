package onnxgraph

import "github.com/skein-project/skein/engine/onnx"

// Versions of the standard operators that the runtime serves.
const (
	MinOpset = 7
	MaxOpset = 24
)

// standard lists the operators of the standard domain that may run: functions of their inputs alone. Left out are subgraphs (Loop, Scan,
// If, SequenceMap), sequences, optionals and strings, random numbers, training, and what only decodes images.
var standard = set(
	// Arithmetic, comparison, logic.
	"Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
	"Ceil", "Clip", "Cos", "Cosh", "Div", "Equal", "Erf", "Exp", "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual",
	"Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Round", "Sign", "Sin", "Sinh", "Sqrt", "Sub", "Sum",
	"Tan", "Tanh", "Where", "Xor",
	// Activations.
	"Celu", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Hardmax", "LeakyRelu", "LogSoftmax", "Mish", "PRelu", "Relu", "Selu", "Shrink",
	"Sigmoid", "Softmax", "Softplus", "Softsign", "Swish", "ThresholdedRelu",
	// Matrices, convolution, pooling, recurrence.
	"AveragePool", "Conv", "ConvInteger", "ConvTranspose", "Det", "Einsum", "GRU", "Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
	"LSTM", "LpPool", "MatMul", "MatMulInteger", "MaxPool", "RNN",
	// Norms, attention.
	"Attention", "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LRN", "LayerNormalization", "LpNormalization",
	"MeanVarianceNormalization", "RMSNormalization", "RotaryEmbedding",
	// Reductions.
	"ArgMax", "ArgMin", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
	"ReduceProd", "ReduceSum", "ReduceSumSquare", "TopK",
	// Shapes and selection.
	"Cast", "CastLike", "CenterCropPad", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Dropout", "Expand", "EyeLike",
	"Flatten", "Gather", "GatherElements", "GatherND", "Identity", "NonZero", "OneHot", "Pad", "Range", "Reshape", "Resize", "ReverseSequence",
	"Scatter", "ScatterElements", "ScatterND", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu",
	"Unique", "Unsqueeze", "Upsample", "TensorScatter",
	// Quantisation, signals, boxes.
	"BlackmanWindow", "DFT", "DequantizeLinear", "DynamicQuantizeLinear", "GridSample", "HammingWindow", "HannWindow", "MelWeightMatrix",
	"NonMaxSuppression", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RoiAlign", "STFT", "AffineGrid", "Col2Im",
)

// microsoft lists the operators of ONNX Runtime's own domain that may run: those into which its optimiser and its exporters fuse
// transformers, and quantised linear algebra.
var microsoft = set(
	"Attention", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "CDist", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "EmbedLayerNormalization",
	"FastGelu", "FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "Gelu", "GemmFastGelu", "GroupNorm", "GroupQueryAttention",
	"Inverse", "LongformerAttention", "MatMulBnb4", "MatMulInteger16", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention",
	"PackedAttention", "PackedMultiHeadAttention", "QAttention", "QEmbedLayerNormalization", "QGemm", "QLinearAdd", "QLinearAveragePool",
	"QLinearConcat", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax",
	"QuickGelu", "RelativePositionBias", "RemovePadding", "RestorePadding", "RotaryEmbedding", "GatedRelativePositionBias",
	"SkipGroupNorm", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "TransposeMatMul", "Trilu", "Unique",
	"QuantizeLinear", "DequantizeLinear", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention", "Rfft", "Irfft", "GatherND", "ExpandDims", "Pad",
)

// known lists operators that are refused with a reason of their own.
var known = map[string]string{
	"Loop": "runs a graph of its own any number of times", "Scan": "runs a graph of its own any number of times",
	"If": "runs a graph of its own", "SequenceMap": "runs a graph of its own",
	"RandomNormal": "is random", "RandomNormalLike": "is random", "RandomUniform": "is random", "RandomUniformLike": "is random",
	"Multinomial": "is random", "Bernoulli": "is random",
	"StringConcat": "computes with text", "StringSplit": "computes with text", "StringNormalizer": "computes with text", "RegexFullMatch": "computes with text",
	"TfIdfVectorizer": "computes with text", "LabelEncoder": "computes with text",
	"ImageDecoder": "decodes files",
	"Gradient":     "trains", "Momentum": "trains", "Adam": "trains", "Adagrad": "trains", "SoftmaxCrossEntropyLoss": "trains", "NegativeLogLikelihoodLoss": "trains",
}

// Supports says whether an operator of a domain ("" = standard, onnx.Microsoft) may run.
func Supports(domain, op string) bool {
	switch domain {
	case "":
		return standard[op]
	case onnx.Microsoft:
		return microsoft[op]
	}
	return false
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
