package savedmodel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reasons for which an operation is refused wherever it is, also where no signature reaches it.
const (
	runsPython  = "runs Python code of the machine that made the model"
	touchesFile = "reads or writes files"
	usesNetwork = "talks to other machines"
	readsInput  = "reads data by itself; what a model computes with comes with the request"
	loadsCode   = "loads or embeds code that is no operation of TensorFlow"
)

// harmful lists operations that a model that only computes has no use for. A graph that holds one is refused whole: what a file holds that
// does such things is not to be trusted with the rest either. Names are without underscores before them.
var harmful = map[string]string{
	"ReadFile": touchesFile, "WriteFile": touchesFile, "MatchingFiles": touchesFile, "Save": touchesFile, "SaveSlices": touchesFile, "RecordInput": touchesFile,
	"ImmutableConst": touchesFile, "LoadAndRemapMatrix": touchesFile, "GenerateVocabRemapping": touchesFile, "ImportEvent": touchesFile,
	"PrintV2": touchesFile, "XlaHostCompute": loadsCode, "XlaHostComputeMlir": loadsCode, "XlaLaunch": loadsCode, "XlaLaunchV2": loadsCode, "XlaCallModule": loadsCode, "TryRpc": usesNetwork,
}

// families are kinds of harmful operations: what a name begins with, ends with or holds, and why it is refused.
var families = []struct {
	is   func(op, part string) bool
	part string
	why  string
}{
	{strings.Contains, "PyFunc", runsPython},
	{strings.Contains, "Dataset", readsInput}, {strings.Contains, "Iterator", readsInput},
	{strings.HasPrefix, "Reader", touchesFile}, {strings.HasSuffix, "Reader", touchesFile}, {strings.HasSuffix, "ReaderV2", touchesFile},
	{strings.HasPrefix, "IO>", touchesFile}, {strings.HasPrefix, "FileSystem", touchesFile}, {strings.HasPrefix, "Debug", touchesFile},
	{strings.HasPrefix, "Write", touchesFile}, {strings.Contains, "SummaryWriter", touchesFile}, {strings.HasPrefix, "CreateSummary", touchesFile},
	{strings.HasPrefix, "BigQuery", usesNetwork}, {strings.HasPrefix, "Gcs", usesNetwork}, {strings.HasPrefix, "Rpc", usesNetwork},
	{strings.HasPrefix, "Remote", usesNetwork}, {strings.HasPrefix, "Collective", usesNetwork}, {strings.HasPrefix, "Nccl", usesNetwork},
	{strings.HasPrefix, "Send", usesNetwork}, {strings.HasPrefix, "Recv", usesNetwork}, {strings.HasPrefix, "HostSend", usesNetwork},
	{strings.HasPrefix, "HostRecv", usesNetwork}, {strings.HasPrefix, "XlaSend", usesNetwork}, {strings.HasPrefix, "XlaRecv", usesNetwork},
	{strings.Contains, "DistributedTPU", usesNetwork},
	{strings.HasPrefix, "XlaCustomCall", loadsCode}, {strings.HasPrefix, "TfLite", loadsCode}, {strings.Contains, "TRT", loadsCode},
}

// harm says why an operation is refused wherever it is, "" where it is not.
func harm(op string) string {
	op = strings.TrimLeft(op, "_")
	if why, ok := harmful[op]; ok {
		return why
	}
	for _, f := range families {
		if f.is(op, f.part) {
			return f.why
		}
	}
	return ""
}

// forbidden refuses a graph with an operation that is harmful, in the graph itself or in any function.
func (g *graph) forbidden() error {
	check := func(within string, nodes []node) error {
		for i := range nodes {
			if why := harm(nodes[i].op); why != "" {
				return Refused{What: within + nodeName(&nodes[i]), Why: fmt.Sprintf("operation %.60q %s: always refused", nodes[i].op, why)}
			}
		}
		return nil
	}
	if err := check("", g.nodes); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(g.functions)) {
		if err := check(fmt.Sprintf("function %.80q: ", name), g.functions[name].nodes); err != nil {
			return err
		}
	}
	return nil
}

// writes says that an operation changes a variable or a table.
func writes(op string) bool {
	for _, start := range []string{"Assign", "ResourceApply", "ResourceSparseApply", "ResourceScatter", "Scatter", "LookupTableInsert", "LookupTableImport",
		"LookupTableRemove", "InitializeTable", "Apply", "SparseApply", "CountUpTo", "ResourceCountUpTo", "ResourceStridedSliceAssign", "StridedSliceAssign",
		"Queue", "Stack", "Stage", "Save", "MergeV2Checkpoints", "TensorForest", "BoostedTrees", "Barrier"} {
		if strings.HasPrefix(op, start) && op != "ScatterNd" && op != "ScatterNdNonAliasingAdd" {
			return true
		}
	}
	return false
}

// Ways out, for operations of a kind that many models have and that is not mapped.
const (
	byLoop    = "loops and branches are not mapped; export the layer unrolled (keras: unroll=True), or convert the model to ONNX with tf2onnx and give that"
	byTable   = "tables of texts are not mapped; give the tokenizer's files beside the model, and a signature that takes ids"
	byText    = "computing with texts is not mapped; give the tokenizer's files beside the model, and a signature that takes ids"
	byRandom  = "is random; export the model with training=False"
	byGrad    = "belongs to training; export the model for inference"
	bySparse  = "sparse and ragged tensors are not mapped; export a signature of dense tensors"
	byExample = "parses serialized examples; give a signature that takes tensors"
	byQuant   = "is quantised in TensorFlow's way; export the model in float"
)

// wayOut says what the owner of a model can do about an operation that has no mapping, "" where nothing better is known.
func wayOut(op string) string {
	for _, c := range []struct {
		starts string
		way    string
	}{
		{"Case StatelessCase For Enter RefEnter Exit RefExit NextIteration RefNextIteration LoopCond TensorList TensorArray CudnnRNN BlockLSTM LSTMBlock GRUBlock", byLoop},
		{"HashTable MutableHashTable LookupTable AnonymousHashTable InitializeTable", byTable},
		{"String RegexReplace StaticRegex Substr AsString DecodeRaw ParseTensor SentencepieceOp Wordpiece UnicodeDecode UnicodeTranscode CaseFold Normalize " +
			"Whitespace FastWordpiece BertTokenizer DecodeBase64 DecodeJpeg DecodePng DecodeImage ReduceJoin", byText},
		{"Random Stateless Multinomial Truncated ParameterizedTruncated", byRandom},
		{"BroadcastGradientArgs SymbolicGradient ApplyGradient", byGrad},
		{"Sparse Ragged", bySparse},
		{"ParseExample ParseSingleExample DecodeCSV DecodeProto", byExample},
		{"Quantize Dequantize FakeQuant Requantize", byQuant},
	} {
		if slices.ContainsFunc(strings.Fields(c.starts), func(start string) bool { return strings.HasPrefix(op, start) }) {
			return c.way
		}
	}
	if strings.HasSuffix(op, "Grad") {
		return byGrad
	}
	return ""
}
