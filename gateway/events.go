package gateway

import (
	"fmt"
	"net/http"
)

// named sends one server-sent event that has a name. The first one sends the header.
func (a *answer) named(name string, v any) error {
	b, err := encoded(v)
	if err != nil {
		return err
	}
	a.begin()
	if _, err := fmt.Fprintf(a.ResponseWriter, "event: %s\ndata: %s\n\n", name, b); err != nil {
		return err
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}
