// A worker's GPUs with their loads, from whichever of the API's forms is there.

import type { GpuView, WorkerRow } from './api/types';

export function gpusOf(row: WorkerRow): GpuView[] {
  if (row.gpus && row.gpus.length > 0) return row.gpus;
  return (row.capabilities?.gpus ?? []).map((gpu) => ({
    index: gpu.index,
    name: gpu.name,
    memory_total_bytes: gpu.memory_total_bytes,
    ...row.gpu_loads?.find((load) => load.index === gpu.index),
    sessions_possible: gpu.max_sessions ?? null,
  }));
}

export function memoryOf(row: WorkerRow): number {
  return row.memory_total_bytes ?? row.capabilities?.machine.memory_total_bytes ?? 0;
}
