package wire

import "encoding/json"

// KeepRequest is records that a gateway wants kept, each an encoded results.Record. It may be repeated: a record that is kept already is left as it is.
type KeepRequest struct {
	Records []json.RawMessage `json:"records"`
}

// KeepResponse says that the records are safe where they are to be kept.
type KeepResponse struct {
	Refused int `json:"refused,omitempty"` // of them: they are malformed, or no database takes them, and are not kept
}

// MaxKeep bounds the records of a KeepRequest.
const MaxKeep = 4096
