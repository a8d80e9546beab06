package token

import "fmt"

// Limits on what Load and Encode accept. Tokenizer files come from strangers.
const (
	MaxFileBytes      = 64 << 20 // bytes of a file that holds a vocabulary or merges
	MaxConfigBytes    = 4 << 20  // bytes of any other file
	MaxComponentBytes = 1 << 20  // bytes of a normalizer, pre-tokenizer, post-processor or decoder in tokenizer.json
	MaxJSONDepth      = 64       // nesting levels of a JSON file
	MaxVocabulary     = 1 << 20  // tokens, and one more than the largest id
	MaxMerges         = 2 << 20  // merge rules
	MaxTokenBytes     = 4096     // bytes of a vocabulary token
	MaxAddedTokens    = 1 << 16  // added tokens
	MaxAddedBytes     = 512      // bytes of an added token
	MaxPatternBytes   = 4096     // bytes of a pattern
	MaxReplaceBytes   = 256      // bytes that a normalizer puts in for one match
	MaxComponents     = 32       // parts of one sequence of normalizers, splitters, post-processors or decoders
	MaxWordChars      = 1000     // characters of a word that WordPiece cuts before it answers "unknown"
	MaxTemplateParts  = 64       // parts of a post-processing template
	MaxTextBytes      = 64 << 20 // bytes of a text to encode
	MaxExpansion      = 32       // times that normalization may lengthen a text
	MaxChatTemplate   = 1 << 20  // bytes of a chat template
	maxExpansionFloor = 4096     // bytes that normalization may add to a text of any length
)

// Unsupported says that a tokenizer uses a component this package does not have.
type Unsupported struct {
	What string // the kind of component: "model", "pre_tokenizer", "pattern", ...
	Name string // its name, or the pattern itself
}

func (e Unsupported) Error() string {
	return fmt.Sprintf("token: unsupported %s %.*q", e.What, MaxPatternBytes, e.Name)
}

// Invalid says that a tokenizer file is broken or exceeds a limit.
type Invalid struct {
	File string // name of the file; empty where no single file is at fault
	Why  string
}

func (e Invalid) Error() string {
	if e.File == "" {
		return "token: " + e.Why
	}
	return "token: " + e.File + ": " + e.Why
}

// InvalidText says that a text is not UTF-8.
type InvalidText struct {
	Offset int // of the first wrong byte
}

func (e InvalidText) Error() string {
	return fmt.Sprintf("token: text is not UTF-8 at byte %d", e.Offset)
}

// TooLong says that a text, or what normalization made of it, exceeds a limit.
type TooLong struct {
	What  string
	Bytes int
	Limit int
}

func (e TooLong) Error() string {
	return fmt.Sprintf("token: %s of %d bytes exceeds the limit of %d", e.What, e.Bytes, e.Limit)
}
