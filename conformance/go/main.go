// Package main calls a fleet with the official Go client of OpenAI's API. Each check prints one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

type line struct {
	Client  string `json:"client,omitempty"`
	Version string `json:"version,omitempty"`
	Check   string `json:"check,omitempty"`
	OK      bool   `json:"ok"`
	Why     string `json:"why,omitempty"`
}

func say(l line) {
	text, _ := json.Marshal(l) // strings and a bool always have a form
	fmt.Println(string(text))
}

func main() {
	base := option.WithBaseURL(os.Getenv("SKEIN_URL") + "/v1")
	c := openai.NewClient(base, option.WithAPIKey(os.Getenv("SKEIN_KEY")))
	ctx := context.Background()
	say(line{Client: "openai-go", Version: "3.96.0"})
	for _, one := range []struct {
		name string
		do   func() error
	}{
		{"models", func() error { return models(ctx, c) }},
		{"chat", func() error { return chat(ctx, c) }},
		{"chat, streamed", func() error { return streamed(ctx, c) }},
		{"tools", func() error { return tools(ctx, c) }},
		{"embeddings", func() error { return embeddings(ctx, c) }},
		{"responses", func() error { return respond(ctx, c) }},
		{"responses, listed and deleted", func() error { return kept(ctx, c) }},
		{"files and batches", func() error { return batch(ctx, c) }},
		{"errors", func() error { return refusals(ctx, c, openai.NewClient(base, option.WithAPIKey("sk-wrong"))) }},
		{"abort", func() error { return abort(ctx, c) }},
	} {
		l := line{Check: one.name, OK: true}
		if err := one.do(); err != nil {
			l.OK, l.Why = false, err.Error()
		}
		say(l)
	}
}

func differ(got, want any) error {
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

func ask(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

func models(ctx context.Context, c openai.Client) error {
	m, err := c.Models.Get(ctx, "calc")
	if err != nil {
		return err
	}
	return differ(m.ID, "calc")
}

func chat(ctx context.Context, c openai.Client) error {
	got, err := c.Chat.Completions.New(ctx, ask("calc", "sum 17 25"))
	if err != nil {
		return err
	}
	return differ(strings.TrimSpace(got.Choices[0].Message.Content)+" "+got.Choices[0].FinishReason, "42 stop")
}

func streamed(ctx context.Context, c openai.Client) error {
	stream := c.Chat.Completions.NewStreaming(ctx, ask("calc", "sum 17 25"))
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			return errors.New("a chunk does not fit to those before it")
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return differ(strings.TrimSpace(all.Choices[0].Message.Content)+" "+all.Choices[0].FinishReason, "42 stop")
}

func tools(ctx context.Context, c openai.Client) error {
	p := ask("tools", "hello")
	p.Tools = []openai.ChatCompletionToolUnionParam{
		openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "get_weather", Parameters: shared.FunctionParameters{"type": "object"}}),
		openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "add", Parameters: shared.FunctionParameters{"type": "object"}}),
	}
	got, err := c.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	var names []string
	for _, call := range got.Choices[0].Message.ToolCalls {
		names = append(names, call.Function.Name)
		p.Messages = append(p.Messages, openai.ToolMessage("21", call.ID))
	}
	if err := differ(strings.Join(names, " "), "get_weather add"); err != nil {
		return err
	}
	p.Messages = append(p.Messages[:1:1], append([]openai.ChatCompletionMessageParamUnion{got.Choices[0].Message.ToParam()}, p.Messages[1:]...)...)
	if got, err = c.Chat.Completions.New(ctx, p); err != nil {
		return err
	}
	return differ(got.Choices[0].Message.Content, "21 °C.")
}

func embeddings(ctx context.Context, c openai.Client) error {
	got, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "embed", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"disk is full", "all is well"}}})
	if err != nil {
		return err
	}
	return differ(fmt.Sprint(len(got.Data), len(got.Data[1].Embedding)), "2 32")
}

func respond(ctx context.Context, c openai.Client) error {
	got, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "calc", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("sum 17 25")}})
	if err != nil {
		return err
	}
	return differ(strings.TrimSpace(got.OutputText()), "42")
}

func kept(ctx context.Context, c openai.Client) error {
	got, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "calc", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("sum 17 25")}})
	if err != nil {
		return err
	}
	var said []string
	items := c.Responses.InputItems.ListAutoPaging(ctx, got.ID, responses.InputItemListParams{Limit: openai.Int(1), Order: responses.InputItemListParamsOrderAsc})
	for items.Next() {
		said = append(said, string(items.Current().Role))
	}
	if err := errors.Join(items.Err(), differ(fmt.Sprint(said), "[user]"), c.Responses.Delete(ctx, got.ID)); err != nil {
		return err
	}
	var e *openai.Error
	if _, err := c.Responses.Get(ctx, got.ID, responses.ResponseGetParams{}); !errors.As(err, &e) || e.StatusCode != http.StatusNotFound {
		return fmt.Errorf("what was deleted: %v", err)
	}
	return nil
}

// batchWithin bounds how long a batch of two lines takes.
const batchWithin = time.Minute

func batch(ctx context.Context, c openai.Client) error {
	line := `{"custom_id": %q, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "calc", "messages": [{"role": "user", "content": "sum 17 25"}]}}` + "\n"
	in := openai.File(strings.NewReader(fmt.Sprintf(line+line, "a", "b")), "in.jsonl", "application/jsonl")
	file, err := c.Files.New(ctx, openai.FileNewParams{File: in, Purpose: openai.FilePurposeBatch})
	if err != nil {
		return err
	}
	b, err := c.Batches.New(ctx, openai.BatchNewParams{InputFileID: file.ID, Endpoint: openai.BatchNewParamsEndpointV1ChatCompletions, CompletionWindow: openai.BatchNewParamsCompletionWindow24h})
	for until := time.Now().Add(batchWithin); err == nil && b.Status != openai.BatchStatusCompleted && time.Now().Before(until); {
		time.Sleep(200 * time.Millisecond)
		b, err = c.Batches.Get(ctx, b.ID)
	}
	if err != nil {
		return err
	}
	if err := differ(fmt.Sprint(b.Status, " ", b.RequestCounts.Completed), "completed 2"); err != nil {
		return err
	}
	res, err := c.Files.Content(ctx, b.OutputFileID)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if err := differ(strings.Count(string(out), `"status_code":200`), 2); err != nil {
		return err
	}
	seen := 0
	pages := c.Batches.ListAutoPaging(ctx, openai.BatchListParams{Limit: openai.Int(1)})
	for pages.Next() {
		if pages.Current().ID == b.ID {
			seen++
		}
	}
	gone, err := c.Files.Delete(ctx, file.ID)
	if err != nil {
		return err
	}
	return errors.Join(pages.Err(), differ(seen, 1), differ(gone.Deleted, true))
}

func refusals(ctx context.Context, c, stranger openai.Client) error {
	for what, one := range map[string]struct {
		err  func() error
		code string
	}{
		"a key that is not known":   {func() error { _, err := stranger.Models.Get(ctx, "calc"); return err }, "invalid_api_key"},
		"a model that is not there": {func() error { _, err := c.Chat.Completions.New(ctx, ask("none", "x")); return err }, "model_not_found"},
	} {
		var e *openai.Error
		if err := one.err(); !errors.As(err, &e) {
			return fmt.Errorf("%s: %v", what, err)
		}
		if err := differ(e.Code, one.code); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func abort(ctx context.Context, c openai.Client) error {
	for range 8 { // more than there are places: each stream that is left gives its place back
		one, cancel := context.WithCancel(ctx)
		stream := c.Chat.Completions.NewStreaming(one, ask("tools", "loop"))
		stream.Next()
		cancel()
		if err := stream.Close(); err != nil {
			return err
		}
	}
	got, err := c.Chat.Completions.New(ctx, ask("tools", "hello"))
	if err != nil {
		return err
	}
	return differ(got.Choices[0].FinishReason, "stop")
}
