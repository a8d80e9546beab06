package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/terminal"
)

// sampling adds the flags that say how tokens are chosen. What is not given takes the model's defaults.
func sampling(c *cobra.Command) func() *inferencev1.Sampling {
	var temperature, topP float64
	var topK, most int32
	var seed uint64
	var stop []string
	var frequency, presence, repetition float64
	f := c.Flags()
	f.Float64Var(&temperature, "temperature", 0, "0 = the most likely token (default: the model's)")
	f.Float64Var(&topP, "top-p", 0, "only the most likely tokens with this sum of probabilities")
	f.Int32Var(&topK, "top-k", 0, "only so many most likely tokens")
	f.Int32Var(&most, "max-tokens", 0, "tokens of the answer")
	f.Uint64Var(&seed, "seed", 0, "equal seeds give equal answers")
	f.StringArrayVar(&stop, "stop", nil, "end before this text (repeatable)")
	f.Float64Var(&frequency, "frequency-penalty", 0, "taken from the logit of a token for each time that it was said, -2 to 2")
	f.Float64Var(&presence, "presence-penalty", 0, "taken from the logit of a token that was said, -2 to 2")
	f.Float64Var(&repetition, "repetition-penalty", 0, "divides what speaks for a token that was said or asked, above 0 to 2")
	return func() *inferencev1.Sampling {
		s := &inferencev1.Sampling{Stop: stop, FrequencyPenalty: frequency, PresencePenalty: presence, RepetitionPenalty: repetition}
		for name, set := range map[string]func(){
			"temperature": func() { s.Temperature = &temperature }, "top-p": func() { s.TopP = &topP }, "top-k": func() { s.TopK = &topK },
			"max-tokens": func() { s.MaxTokens = &most }, "seed": func() { s.Seed = &seed },
		} {
			if f.Changed(name) {
				set()
			}
		}
		return s
	}
}

// maxSchema bounds a file that holds a JSON Schema, in bytes.
const maxSchema = 1 << 20

// constraint adds the flags that say what the answer looks like; nil = like anything.
func constraint(c *cobra.Command) func() (*inferencev1.Constraint, error) {
	var schema, regex string
	var choice []string
	var object bool
	f := c.Flags()
	f.StringVar(&schema, "json-schema", "", "the answer is JSON that follows the JSON Schema in this file")
	f.BoolVar(&object, "json", false, "the answer is a JSON object")
	f.StringVar(&regex, "regex", "", "the answer matches this regular expression")
	f.StringArrayVar(&choice, "choice", nil, "the answer is this text, or another --choice")
	c.MarkFlagsMutuallyExclusive("json-schema", "json", "regex", "choice")
	return func() (*inferencev1.Constraint, error) {
		switch {
		case schema != "":
			file, err := os.Open(schema)
			if err != nil {
				return nil, err
			}
			defer file.Close()
			raw, err := io.ReadAll(io.LimitReader(file, maxSchema+1))
			if err == nil && len(raw) > maxSchema {
				err = fmt.Errorf("%s has more than %d bytes", schema, maxSchema)
			}
			return &inferencev1.Constraint{Kind: &inferencev1.Constraint_JsonSchema{JsonSchema: string(raw)}}, err
		case object:
			return &inferencev1.Constraint{Kind: &inferencev1.Constraint_JsonObject{JsonObject: true}}, nil
		case regex != "":
			return &inferencev1.Constraint{Kind: &inferencev1.Constraint_Regex{Regex: regex}}, nil
		case len(choice) > 0:
			return &inferencev1.Constraint{Kind: &inferencev1.Constraint_Choice{Choice: &inferencev1.Choices{Texts: choice}}}, nil
		}
		return nil, nil
	}
}

func (a *app) chat() *cobra.Command {
	c := &cobra.Command{Use: "chat MODEL [MESSAGE]", Short: "Talk to a model", Args: cobra.RangeArgs(1, 2)}
	choose, form := sampling(c), constraint(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		talk := &conversation{client: c, model: args[0], sampling: choose()}
		if talk.constraint, err = form(); err != nil {
			return err
		}
		if len(args) == 2 {
			return talk.say(cmd.Context(), cmd, args[1])
		}
		return talk.run(cmd.Context(), cmd)
	}
	return c
}

// conversation remembers what was said.
type conversation struct {
	client   *client.Client
	model    string
	sampling *inferencev1.Sampling

	constraint *inferencev1.Constraint

	messages []*inferencev1.Message
}

// run reads a message a line until the input ends. What goes wrong with one message does not end the conversation.
func (t *conversation) run(ctx context.Context, cmd *cobra.Command) error {
	prompt := ""
	if terminal.Is(os.Stdin) {
		prompt = "> "
		fmt.Fprintln(os.Stderr, "Ctrl-D ends the conversation.")
	}
	lines := make(chan string)
	in := bufio.NewScanner(cmd.InOrStdin())
	in.Buffer(nil, 4<<20)
	go func() {
		defer close(lines)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	var failed error
	for {
		fmt.Fprint(os.Stderr, prompt)
		select {
		case line, ok := <-lines:
			if !ok {
				if err := in.Err(); err != nil {
					return err
				}
				return failed
			}
			if strings.TrimSpace(line) == "" {
				continue
			}
			if failed = t.say(ctx, cmd, line); failed != nil && prompt != "" {
				_, text := explain(failed, true, t.client.Profile.URL)
				fmt.Fprintln(os.Stderr, text)
				failed = nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// say asks and streams the answer.
func (t *conversation) say(ctx context.Context, cmd *cobra.Command, text string) error {
	asked := append(t.messages, &inferencev1.Message{Role: "user", Content: text})
	stream, err := t.client.Inference.Chat(ctx, connect.NewRequest(&inferencev1.ChatRequest{Model: t.model, Messages: asked, Sampling: t.sampling, Constraint: t.constraint}))
	if err != nil {
		return err
	}
	answer, err := printStream(cmd, stream)
	if err == nil {
		t.messages = append(asked, &inferencev1.Message{Role: "assistant", Content: answer})
	}
	return err
}

// printStream prints an answer as it comes.
func printStream(cmd *cobra.Command, stream *connect.ServerStreamForClient[inferencev1.GenerateResponse]) (answer string, err error) {
	defer stream.Close()
	var b strings.Builder
	for stream.Receive() {
		text := stream.Msg().Text
		b.WriteString(text)
		if _, err := fmt.Fprint(cmd.OutOrStdout(), text); err != nil {
			return "", err
		}
	}
	if b.Len() > 0 || stream.Err() == nil {
		fmt.Fprintln(cmd.OutOrStdout())
	}
	return b.String(), stream.Err()
}

func (a *app) generate() *cobra.Command {
	c := &cobra.Command{Use: "generate MODEL PROMPT", Short: "Continue a text", Args: cobra.ExactArgs(2)}
	choose, form := sampling(c), constraint(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		looks, err := form()
		if err != nil {
			return err
		}
		stream, err := c.Inference.Generate(cmd.Context(), connect.NewRequest(&inferencev1.GenerateRequest{Model: args[0], Input: &inferencev1.GenerateRequest_Prompt{Prompt: args[1]}, Sampling: choose(), Constraint: looks}))
		if err != nil {
			return err
		}
		_, err = printStream(cmd, stream)
		return err
	}
	return c
}
