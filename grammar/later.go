package grammar

func (b *builder) schema(text []byte, next int32) (int32, error) {
	return end, &Unsupported{"schema", ""}
}

func (b *builder) regex(text string, next int32) (int32, error) {
	return end, &Unsupported{"regex", ""}
}

func (b *builder) free(f *Free, next int32) (int32, error) {
	return end, &Unsupported{"free", ""}
}
