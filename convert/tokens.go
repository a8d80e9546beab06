package convert

import "github.com/skein-project/skein/model"

// tokens reads the special token ids and the defaults of sampling: those of generation_config.json, else of config.json, else of
// the family.
func (r *reading) tokens() (err error) {
	if err := r.code(); err != nil {
		return err
	}
	config, m, fam := r.config, r.m, r.family
	gen := &settings{file: "generation_config.json"}
	if _, ok := r.files[gen.file]; ok {
		if gen, err = r.settings(gen.file, MaxConfig); err != nil {
			return err
		}
	}
	vocab := m.Config.Vocab
	find := func(key string, fallback int) []int32 {
		for _, s := range []*settings{gen, config} {
			if s.has(key) {
				return s.ids(key, vocab)
			}
		}
		if fallback < 0 || fallback >= vocab || config.hasNull(key) {
			return nil
		}
		return []int32{int32(fallback)}
	}
	m.EOS = find("eos_token_id", fam.eos)
	m.BOS = one(find("bos_token_id", fam.bos))
	m.Pad = one(find("pad_token_id", fam.pad))
	if m.Config.Arch.Decoder() && gen.flag("do_sample", false) {
		m.Sampling = model.Sampling{
			Temperature: gen.number("temperature", 1),
			TopK:        gen.count("top_k", 0),
			TopP:        gen.number("top_p", 0),
		}
	}
	config.join(gen)
	if err := config.err(); err != nil {
		return err
	}
	return asRefused(gen.file, m.Sampling.Validate())
}

// one is the id of a list that should have one, −1 for none.
func one(ids []int32) int32 {
	if len(ids) == 0 {
		return -1
	}
	return ids[0]
}
