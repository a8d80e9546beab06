package engine

// CPUHalf is the backend that tests the paths of CUDA without a GPU.
const CPUHalf = cpuHalf
