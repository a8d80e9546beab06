package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/internal/devfleet"
)

// question is a question to examples/calc.
type question struct {
	task    string // sum or sort
	numbers []int
	chat    bool // by the chat API
}

var questions = []question{
	{task: "sum", numbers: []int{17, 25}},
	{task: "sum", numbers: []int{123, 45, 678}},
	{task: "sort", numbers: []int{42, 7, 19, 3, 88}, chat: true},
}

func words(numbers []int) string {
	var out []string
	for _, n := range numbers {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, " ")
}

// right computes the answer.
func (q question) right() string {
	if q.task == "sum" {
		sum := 0
		for _, n := range q.numbers {
			sum += n
		}
		return strconv.Itoa(sum)
	}
	return words(slices.Sorted(slices.Values(q.numbers)))
}

// questions asks through the OpenAI API, as any client would, and fails if an answer is not right.
func (d *development) questions(ctx context.Context, fleet *devfleet.Fleet, model string) error {
	c, err := client.New(client.Profile{URL: fleet.URL(), Key: fleet.Key})
	if err != nil {
		return err
	}
	var failed []error
	for _, q := range questions {
		prompt := q.task + " " + words(q.numbers) + " ="
		began := time.Now()
		answer, err := ask(ctx, c, model, prompt, q.chat)
		if err != nil {
			return fmt.Errorf("ask %q: %w", prompt, err)
		}
		answer = strings.TrimSpace(answer)
		verdict := "right"
		if answer != q.right() {
			verdict = "wrong, it is " + q.right()
			failed = append(failed, fmt.Errorf("%q was answered %q, right is %q", prompt, answer, q.right()))
		}
		d.say("ask", "%-20s %-14s %s (%d ms)", prompt, answer, verdict, time.Since(began).Milliseconds())
	}
	return errors.Join(failed...)
}

// maxReply bounds an answer in bytes.
const maxReply = 1 << 20

// ask calls the OpenAI API by hand: no library of ours stands between.
func ask(ctx context.Context, c *client.Client, model, prompt string, chat bool) (string, error) {
	body, path := map[string]any{"model": model, "temperature": 0, "max_tokens": 32}, "/v1/completions"
	if chat {
		path = "/v1/chat/completions"
		body["messages"] = []map[string]string{{"role": "user", "content": prompt}}
	} else {
		body["prompt"] = prompt
	}
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Profile.URL+path, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.HTTP.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return "", err
	}
	var out struct {
		Choices []struct {
			Text    string `json:"text"`
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(reply, &out); res.StatusCode != http.StatusOK || err != nil || len(out.Choices) != 1 {
		return "", fmt.Errorf("%s %s: %s", path, res.Status, oneLine(string(reply[:min(len(reply), 300)])))
	}
	return out.Choices[0].Text + out.Choices[0].Message.Content, nil
}
