package convert

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skein-project/skein/model"
)

// family is what a model architecture of Hugging Face adds to the ordinary reading of a folder.
type family struct {
	kind     string // model_type of config.json
	read     func(*settings, *model.Manifest)
	prefix   string            // of tensors, where the checkpoint has the head's class as root
	outer    map[string]place  // tensors outside of the layers
	layers   string            // what stands before the layer number
	inner    map[string]string // tensors of a layer: name after the layer number → canonical name
	harmless func(name string) bool
	tied     bool // default of tie_word_embeddings
	offset   int  // rows at the front of the table of positions that no token has
	bos, eos int  // defaults, −1 = none
	pad      int
}

// place is where a tensor outside of the layers belongs.
type place struct {
	tail bool // else model.Embed
	name string
}

// families lists what architectures of config.json can be read.
var families = map[string]family{
	"GPT2LMHeadModel":    gpt2,
	"GPT2Model":          gpt2,
	"LlamaForCausalLM":   llama("llama"),
	"MistralForCausalLM": llama("mistral"),
	"Qwen2ForCausalLM":   llama("qwen2"),

	"BertModel":                     bert,
	"BertForMaskedLM":               bert.with(model.FillMask, bertMasked),
	"BertForPreTraining":            bert.with(model.FillMask, bertMasked),
	"BertForSequenceClassification": bert.with(model.Classify, oneClassifier),
	"BertForTokenClassification":    bert.with(model.ClassifyTokens, oneClassifier),
	"BertForQuestionAnswering":      bert.with(model.Answer, answers),

	"RobertaModel":                     roberta,
	"RobertaForMaskedLM":               roberta.with(model.FillMask, robertaMasked),
	"RobertaForSequenceClassification": roberta.with(model.Classify, twoClassifiers),
	"RobertaForTokenClassification":    roberta.with(model.ClassifyTokens, oneClassifier),
	"RobertaForQuestionAnswering":      roberta.with(model.Answer, answers),

	"DistilBertModel":                     distilBERT,
	"DistilBertForMaskedLM":               distilBERT.with(model.FillMask, distilMasked),
	"DistilBertForSequenceClassification": distilBERT.with(model.Classify, distilClassifiers).acting("relu"),
	"DistilBertForTokenClassification":    distilBERT.with(model.ClassifyTokens, oneClassifier),
	"DistilBertForQuestionAnswering":      distilBERT.with(model.Answer, answers),

	"ElectraModel":                     electra,
	"ElectraForSequenceClassification": electra.with(model.Classify, twoClassifiers).acting("gelu"),
	"ElectraForTokenClassification":    electra.with(model.ClassifyTokens, oneClassifier),
	"ElectraForQuestionAnswering":      electra.with(model.Answer, answers),
}

// Names of the tensors of heads.
var (
	oneClassifier     = map[string]string{"classifier": "classifier"}
	twoClassifiers    = map[string]string{"classifier.dense": "pooler", "classifier.out_proj": "classifier"}
	distilClassifiers = map[string]string{"pre_classifier": "pooler", "classifier": "classifier"}
	answers           = map[string]string{"qa_outputs": "classifier"}
	bertMasked        = map[string]string{"cls.predictions.transform.dense": "mlm", "cls.predictions.transform.LayerNorm": "mlm.norm",
		"cls.predictions.decoder": "head", "cls.predictions": headTwin}
	robertaMasked = map[string]string{"lm_head.dense": "mlm", "lm_head.layer_norm": "mlm.norm", "lm_head.decoder": "head", "lm_head": headTwin}
	distilMasked  = map[string]string{"vocab_transform": "mlm", "vocab_layer_norm": "mlm.norm", "vocab_projector": "head"}
)

// headTwin is the other name of a head's bias: checkpoints have it under one of two names, or under both.
const headTwin = "head twin"

// familyOf finds the family that config.json names.
func familyOf(config *settings) (family, error) {
	config.refuseCode()
	names := config.texts("architectures")
	kind := config.text("model_type", "")
	if config.has("quantization_config") {
		config.refuse("quantization_config", "quantised checkpoints are not supported")
	}
	if err := config.err(); err != nil {
		return family{}, err
	}
	if len(names) != 1 {
		return family{}, Refused{config.file, "architectures", fmt.Sprintf("names %d architectures, want one", len(names))}
	}
	fam, ok := families[names[0]]
	if !ok {
		return family{}, Refused{config.file, "architectures", fmt.Sprintf("unknown architecture %.80q", names[0])}
	}
	if kind != fam.kind {
		return family{}, Refused{config.file, "model_type", fmt.Sprintf("%.40q does not fit architecture %s", kind, names[0])}
	}
	return fam, nil
}

// find gives the canonical place of a checkpoint's tensor; ok is false where the family has none.
func (f family) find(name string, layers int) (block int, canonical string, ok bool) {
	name = strings.TrimPrefix(name, f.prefix)
	if p, ok := f.outer[name]; ok {
		if p.tail {
			return layers, p.name, true
		}
		return model.Embed, p.name, true
	}
	rest, ok := strings.CutPrefix(name, f.layers)
	if !ok {
		return 0, "", false
	}
	digits, rest, _ := strings.Cut(rest, ".")
	block, err := strconv.Atoi(digits)
	if err != nil || block < 0 || block >= layers || strconv.Itoa(block) != digits {
		return 0, "", false
	}
	canonical, ok = f.inner[rest]
	return block, canonical, ok
}

// both maps a weight and its bias.
func both(table map[string]string, name, canonical string) {
	table[name+".weight"] = canonical + ".weight"
	table[name+".bias"] = canonical + ".bias"
}
