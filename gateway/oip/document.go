package oip

// ServerMetadata describes the server (GET /v2).
type ServerMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// Liveness says that the server answers (GET /v2/health/live).
type Liveness struct {
	Live bool `json:"live"`
}

// Readiness says whether the server, or a model, can be called now.
type Readiness struct {
	Name  string `json:"name,omitempty"` // of the model
	Ready bool   `json:"ready"`
}

// ModelMetadata describes a model (GET /v2/models/{model}).
type ModelMetadata struct {
	Name     string     `json:"name"`
	Versions []string   `json:"versions,omitempty"`
	Platform string     `json:"platform"`
	Inputs   []PortJSON `json:"inputs"`
	Outputs  []PortJSON `json:"outputs"`
}

// PortJSON describes an input or an output; a dimension of −1 is of any length.
type PortJSON struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// ModelConfig is what the model configuration extension tells of a model that is not configured by files.
type ModelConfig struct {
	Name          string          `json:"name"`
	Platform      string          `json:"platform"`
	Backend       string          `json:"backend"`
	MaxBatchSize  int             `json:"max_batch_size"` // 0: the first dimension is not the server's to fill
	Input         []ConfigPort    `json:"input"`
	Output        []ConfigPort    `json:"output"`
	VersionPolicy VersionPolicy   `json:"version_policy"`
	Transactions  TransactionJSON `json:"model_transaction_policy"`
}

// VersionPolicy says which versions can be called.
type VersionPolicy struct {
	Specific struct {
		Versions []int `json:"versions"`
	} `json:"specific"`
}

// TransactionJSON says whether a request may have more than one answer.
type TransactionJSON struct {
	Decoupled bool `json:"decoupled"`
}

// ConfigPort is a port in a ModelConfig.
type ConfigPort struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"` // TYPE_FP32, …
	Dims     []int64 `json:"dims"`
	Optional bool    `json:"optional,omitempty"`
}

// RequestJSON is a request without binary data, for documents and clients; ReadRequest reads it and more.
type RequestJSON struct {
	ID         string         `json:"id,omitempty"`
	Parameters map[string]any `json:"parameters,omitempty"`
	Inputs     []TensorJSON   `json:"inputs"`
	Outputs    []OutputJSON   `json:"outputs,omitempty"`
}

// TensorJSON is a tensor in JSON: its elements, or how many of the bytes behind the JSON they are.
type TensorJSON struct {
	Name       string         `json:"name"`
	Datatype   string         `json:"datatype"`
	Shape      []int64        `json:"shape"`
	Parameters map[string]any `json:"parameters,omitempty"`
	Data       any            `json:"data,omitempty"`
}

// OutputJSON names an output that is wanted.
type OutputJSON struct {
	Name       string         `json:"name"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

// AnswerJSON is an answer without binary data, for documents and clients; Answer.Encode writes it and more.
type AnswerJSON struct {
	Model   string       `json:"model_name"`
	Version string       `json:"model_version"`
	ID      string       `json:"id,omitempty"`
	Outputs []TensorJSON `json:"outputs"`
}

// ErrorJSON is the form of errors.
type ErrorJSON struct {
	Error string `json:"error"`
}
