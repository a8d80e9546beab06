// Package protocols asks a fleet with the official Go clients of protocols that Skein speaks, and checks the document that describes them. It is a
// module of its own, so that nobody else downloads what it needs.
package protocols

import (
	"os"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// The published document is one by the schema of OpenAPI 3.1, and everything that it refers to is in it.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := libopenapi.NewDocument(b)
	if err != nil {
		t.Fatal(err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	if n := model.Model.Paths.PathItems.Len(); n < 40 {
		t.Errorf("%d paths", n)
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	ok, wrong := v.ValidateDocument()
	for _, w := range wrong {
		t.Errorf("%s: %s %+v", w.Message, w.Reason, w.SchemaValidationErrors)
	}
	if !ok && len(wrong) == 0 {
		t.Error("it is not valid")
	}
}
