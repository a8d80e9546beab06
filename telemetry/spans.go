package telemetry

// Names of spans. A request's own span is called "OPERATION MODEL", as the GenAI conventions have it.
const (
	SpanAttempt = "attempt" // one try at one replica
	SpanHead    = "head"    // the request at stage 0 of its replica
	SpanQueue   = "queue"   // until a row of the cache is free
	SpanPrefill = "prefill" // until the first token
	SpanDecode  = "decode"  // the tokens after it
	SpanStage   = "stage"   // one forward step on one stage
)

// Key names an attribute of a span. There is no other way to put anything on a span: what people write, and keys, have no Key.
type Key string

// Attributes of the GenAI conventions.
const (
	KeyOperation     Key = "gen_ai.operation.name"
	KeyProvider      Key = "gen_ai.provider.name"
	KeyRequestModel  Key = "gen_ai.request.model"
	KeyResponseModel Key = "gen_ai.response.model"
	KeyInputTokens   Key = "gen_ai.usage.input_tokens"
	KeyOutputTokens  Key = "gen_ai.usage.output_tokens"
	KeyFinish        Key = "gen_ai.response.finish_reasons"
	KeyError         Key = "error.type"
)

// Attributes of our own.
const (
	KeyRequest Key = "skein.request.id"
	KeyTenant  Key = "skein.tenant"
	KeyKey     Key = "skein.key.id" // the visible part
	KeyReplica Key = "skein.replica"
	KeyEpoch   Key = "skein.epoch"
	KeyNode    Key = "server.address" // host:port of the worker
	KeyStage   Key = "skein.stage"
	KeyBlocks  Key = "skein.blocks"
	KeyTokens  Key = "skein.tokens"
	KeyStep    Key = "skein.step.kind" // prefill, decode or encode
)

// Operations of the GenAI conventions, and one of our own.
const (
	OpChat       = "chat"
	OpText       = "text_completion"
	OpEmbeddings = "embeddings"
	OpClassify   = "classify"
)

// Provider is the value of gen_ai.provider.name.
const Provider = "skein"
