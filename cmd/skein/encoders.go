package main

import (
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
)

// named finds a value of an enumeration by its name without the prefix, in lower case; "" is the first.
func named(values map[string]int32, prefix, flag, name string) (int32, error) {
	if name == "" {
		return 0, nil
	}
	n, ok := values[prefix+strings.ToUpper(name)]
	if !ok || n == 0 {
		var list []string
		for i := int32(1); int(i) < len(values); i++ {
			for v, k := range values {
				if k == i {
					list = append(list, strings.ToLower(strings.TrimPrefix(v, prefix)))
				}
			}
		}
		return 0, usage("--%s %q: want one of %s", flag, name, strings.Join(list, ", "))
	}
	return n, nil
}

func (a *app) embed() *cobra.Command {
	var pooling string
	var normalize, tokens bool
	cmd := &cobra.Command{Use: "embed MODEL TEXT...", Short: "Turn texts, or each of their tokens, into vectors", Args: cobra.MinimumNArgs(2)}
	f := cmd.Flags()
	f.StringVar(&pooling, "pooling", "", "how the vectors of tokens become one: cls, mean or last (default: as the model declares)")
	f.BoolVar(&normalize, "normalize", false, "vectors of length 1 (default: as the model declares)")
	f.BoolVar(&tokens, "tokens", false, "a vector for each token")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		if tokens {
			res, err := c.Inference.EmbedTokens(cmd.Context(), connect.NewRequest(&inferencev1.EmbedTokensRequest{Model: args[0], Texts: args[1:]}))
			if err != nil {
				return err
			}
			return a.show(cmd, res.Msg, "TOKEN FROM TO VECTOR", func(row func(...any)) {
				for _, r := range res.Msg.Results {
					for _, t := range r.Tokens {
						row(t.Text, t.Start, t.End, t.Values)
					}
				}
			})
		}
		how, err := named(inferencev1.Pooling_value, "POOLING_", "pooling", pooling)
		if err != nil {
			return err
		}
		req := &inferencev1.EmbedRequest{Model: args[0], Texts: args[1:], Pooling: inferencev1.Pooling(how)}
		if f.Changed("normalize") {
			req.Normalize = &normalize
		}
		res, err := c.Inference.Embed(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "", func(row func(...any)) {
			for _, v := range res.Msg.Vectors {
				row(v.Values)
			}
		})
	}
	return cmd
}

func (a *app) classify() *cobra.Command {
	var pair string
	cmd := &cobra.Command{Use: "classify MODEL TEXT...", Short: "Give texts, or pairs of texts, labels", Args: cobra.MinimumNArgs(2)}
	cmd.Flags().StringVar(&pair, "pair", "", "the second text of each pair")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		req := &inferencev1.ClassifyRequest{Model: args[0]}
		for _, text := range args[1:] {
			req.Inputs = append(req.Inputs, &inferencev1.ClassifyInput{Text: text, Pair: pair})
		}
		res, err := c.Inference.Classify(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "LABEL SCORE TEXT", func(row func(...any)) {
			for i, r := range res.Msg.Results {
				for j, l := range r.Labels {
					text := ""
					if j == 0 && i+1 < len(args) {
						text = args[i+1]
					}
					row(l.Name, score(l.Score), text)
				}
			}
		})
	}
	return cmd
}

func score(s float32) string { return fmt.Sprintf("%.4f", s) }

func (a *app) label() *cobra.Command {
	var aggregation, offsets string
	var outside bool
	cmd := &cobra.Command{Use: "label MODEL TEXT...", Short: "Find the words or the spans of texts that a model labels", Args: cobra.MinimumNArgs(2)}
	f := cmd.Flags()
	f.StringVar(&aggregation, "aggregation", "", "how tokens become spans: none, simple, first, average or max (default simple)")
	f.StringVar(&offsets, "offsets", "", "what places count: character, byte or utf16 (default character)")
	f.BoolVar(&outside, "outside", false, "what is labelled O too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		how, err := named(inferencev1.Aggregation_value, "AGGREGATION_", "aggregation", aggregation)
		if err != nil {
			return err
		}
		unit, err := named(inferencev1.OffsetUnit_value, "OFFSET_UNIT_", "offsets", offsets)
		if err != nil {
			return err
		}
		res, err := c.Inference.LabelTokens(cmd.Context(), connect.NewRequest(&inferencev1.LabelTokensRequest{Model: args[0], Texts: args[1:],
			Aggregation: inferencev1.Aggregation(how), Offsets: inferencev1.OffsetUnit(unit), Outside: outside}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "TEXT LABEL SCORE FROM TO", func(row func(...any)) {
			for _, r := range res.Msg.Results {
				for _, s := range r.Spans {
					row(s.Text, s.Label, score(s.Score), s.Start, s.End)
				}
			}
		})
	}
	return cmd
}

func (a *app) fill() *cobra.Command {
	var top int32
	cmd := &cobra.Command{Use: "fill MODEL TEXT...", Short: "Find the likely words behind the masks of texts, written [MASK] or as the model spells it", Args: cobra.MinimumNArgs(2)}
	cmd.Flags().Int32Var(&top, "top", 0, "so many for each mask (default 5)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Inference.FillMask(cmd.Context(), connect.NewRequest(&inferencev1.FillMaskRequest{Model: args[0], Texts: args[1:], Top: top}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "TOKEN SCORE TEXT", func(row func(...any)) {
			for _, r := range res.Msg.Results {
				for _, m := range r.Masks {
					for _, x := range m.Fills {
						row(x.Text, score(x.Score), x.Sequence)
					}
				}
			}
		})
	}
	return cmd
}

func (a *app) answer() *cobra.Command {
	req := &inferencev1.AnswerRequest{}
	var overlap int32
	cmd := &cobra.Command{Use: "answer MODEL QUESTION CONTEXT", Short: "Find what of a text answers a question", Args: cobra.ExactArgs(3)}
	f := cmd.Flags()
	f.Int32Var(&req.Best, "best", 0, "so many answers (default 1)")
	f.Int32Var(&req.MaxAnswerTokens, "max-answer-tokens", 0, "tokens of an answer (default 15)")
	f.Int32Var(&req.Window, "window", 0, "tokens that the model reads at once (default 384, or its context)")
	f.Int32Var(&overlap, "overlap", 0, "tokens that two windows share (default 128, or half of the window)")
	f.BoolVar(&req.SplitWords, "split-words", false, "answers may begin and end within words")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		req.Model, req.Question, req.Context = args[0], args[1], args[2]
		if f.Changed("overlap") {
			req.Overlap = &overlap
		}
		res, err := c.Inference.Answer(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "ANSWER SCORE FROM TO", func(row func(...any)) {
			for _, x := range res.Msg.Answers {
				row(x.Text, score(x.Score), x.Start, x.End)
			}
			row("(none)", score(res.Msg.NoAnswerScore), "", "")
		})
	}
	return cmd
}

func (a *app) rerank() *cobra.Command {
	var top int32
	cmd := &cobra.Command{Use: "rerank MODEL QUERY DOCUMENT...", Short: "Sort texts by how well they fit a query", Args: cobra.MinimumNArgs(3)}
	cmd.Flags().Int32Var(&top, "top", 0, "so many of the best (default all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		res, err := c.Inference.Rerank(cmd.Context(), connect.NewRequest(&inferencev1.RerankRequest{Model: args[0], Query: args[1], Documents: args[2:], Top: top}))
		if err != nil {
			return err
		}
		return a.show(cmd, res.Msg, "SCORE DOCUMENT", func(row func(...any)) {
			for _, x := range res.Msg.Results {
				text := ""
				if int(x.Index)+2 < len(args) {
					text = args[x.Index+2]
				}
				row(score(x.Score), text)
			}
		})
	}
	return cmd
}
