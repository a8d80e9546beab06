package protocols

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// client is Anthropic's, of a fleet that serves the model "tagged" of internal/scripted.
func client(t *testing.T) (context.Context, anthropic.Client) {
	t.Helper()
	url, key := os.Getenv("SKEIN_URL"), os.Getenv("SKEIN_KEY")
	if url == "" {
		t.Skip("SKEIN_URL names no fleet")
	}
	return t.Context(), anthropic.NewClient(option.WithBaseURL(url), option.WithAPIKey(key), option.WithMaxRetries(0))
}

const said = "It is fine in Zürich – 21 °C. 🌞"

func ask(text string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{Model: "tagged", MaxTokens: 200, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(text))}}
}

func tools() []anthropic.ToolUnionParam {
	schema := anthropic.ToolInputSchemaParam{Properties: map[string]any{"city": map[string]string{"type": "string"}}}
	return []anthropic.ToolUnionParam{anthropic.ToolUnionParamOfTool(schema, "get_weather"), anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{}, "add")}
}

func TestMessages(t *testing.T) {
	ctx, c := client(t)
	m, err := c.Messages.New(ctx, ask("hello"))
	if err != nil || m.Content[0].AsText().Text != said || m.StopReason != anthropic.StopReasonEndTurn || m.Usage.OutputTokens == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	count, err := c.Messages.CountTokens(ctx, anthropic.MessageCountTokensParams{Model: "tagged", Messages: ask("hello").Messages})
	if err != nil || count.InputTokens != m.Usage.InputTokens {
		t.Errorf("%+v, %v", count, err)
	}
	stopped := ask("hello")
	stopped.StopSequences = []string{" 21"}
	if m, err = c.Messages.New(ctx, stopped); err != nil || m.StopReason != anthropic.StopReasonStopSequence || m.StopSequence != " 21" {
		t.Errorf("%+v, %v", m, err)
	}
}

// A conversation with calls of functions, streamed and whole.
func TestTools(t *testing.T) {
	ctx, c := client(t)
	params := ask("hello")
	params.Tools = tools()
	whole, err := c.Messages.New(ctx, params)
	if err != nil {
		t.Fatal(err)
	}
	stream := c.Messages.NewStreaming(ctx, params)
	var m anthropic.Message
	for stream.Next() {
		if err := m.Accumulate(stream.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if stream.Err() != nil || m.StopReason != anthropic.StopReasonToolUse || len(m.Content) != 3 || len(whole.Content) != 3 {
		t.Fatalf("streamed %+v, whole %+v, %v", m, whole, stream.Err())
	}
	var results []anthropic.ContentBlockParamUnion
	for i, b := range m.Content {
		if b.Type != whole.Content[i].Type || b.Text != whole.Content[i].Text || b.Name != whole.Content[i].Name {
			t.Errorf("block %d: streamed %+v, whole %+v", i, b, whole.Content[i])
		}
		if b.Type != "tool_use" {
			continue
		}
		var streamed, given any
		if errors.Join(json.Unmarshal(b.Input, &streamed), json.Unmarshal(whole.Content[i].Input, &given)) != nil {
			t.Errorf("inputs %s and %s", b.Input, whole.Content[i].Input)
		}
		results = append(results, anthropic.NewToolResultBlock(b.ID, "21", false))
	}
	params.Messages = append(params.Messages, m.ToParam(), anthropic.NewUserMessage(results...))
	if m, err := c.Messages.New(ctx, params); err != nil || m.Content[0].Text != "21 °C." {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestErrors(t *testing.T) {
	ctx, c := client(t)
	params := ask("hello")
	params.Model = "nobody"
	_, err := c.Messages.New(ctx, params)
	var told *anthropic.Error
	if !errors.As(err, &told) || told.StatusCode != http.StatusNotFound || told.RequestID == "" {
		t.Errorf("%v", err)
	}
	wrong := anthropic.NewClient(option.WithBaseURL(os.Getenv("SKEIN_URL")), option.WithAPIKey("sk-wrong"), option.WithMaxRetries(0))
	if _, err = wrong.Messages.New(ctx, ask("hello")); !errors.As(err, &told) || told.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v", err)
	}
}
