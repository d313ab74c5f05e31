/* A stand-in for the NVIDIA Management Library, with the functions that nvml-wrapper calls for ffmpegd.
 *
 * What it shows is in `fake-nvml.conf` beside the library, read on every call, so a test may change figures while a worker
 * runs:
 *
 *     driver;550.54.14
 *     gpu;NAME;UUID;MEMORY_MIB;MEMORY_USED_MIB;UTILISATION;ENCODER;DECODER;SESSIONS;TEMPERATURE
 *     gpu;lost
 *
 * One line per GPU, in order of index. `-` for a figure that the GPU does not tell. `gpu;lost` is one that fell off the
 * bus. Without the file there is no driver.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    GPU_IS_LOST = 15
};

#define MAX_GPUS 16
#define MAX_FIELDS 10
#define NOT_TOLD (-1LL)

enum { NAME, UUID, MEMORY, MEMORY_USED, UTILISATION, ENCODER, DECODER, SESSIONS, TEMPERATURE };

struct gpu {
    int lost;
    char field[MAX_FIELDS][128];
};

struct config {
    char driver[64];
    unsigned count;
    struct gpu gpu[MAX_GPUS];
};

/* A handle is the address of one of these. */
static char handles[MAX_GPUS];

static FILE *open_config(void)
{
    char path[4096];
    Dl_info self;
    char *slash;
    if (!dladdr(handles, &self) || strlen(self.dli_fname) + sizeof "fake-nvml.conf" > sizeof path) {
        return NULL;
    }
    strcpy(path, self.dli_fname);
    slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "fake-nvml.conf");
    return fopen(path, "r");
}

static int read_config(struct config *config)
{
    FILE *file = open_config();
    char line[1024];
    if (!file) {
        return 0;
    }
    memset(config, 0, sizeof *config);
    strcpy(config->driver, "550.54.14");
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (strncmp(line, "driver;", 7) == 0) {
            snprintf(config->driver, sizeof config->driver, "%.63s", line + 7);
        } else if (strncmp(line, "gpu;", 4) == 0 && config->count < MAX_GPUS) {
            struct gpu *gpu = &config->gpu[config->count++];
            char *rest = line + 4;
            gpu->lost = strcmp(rest, "lost") == 0;
            for (int i = 0; i < MAX_FIELDS && rest; i++) {
                char *end = strchr(rest, ';');
                if (end) {
                    *end = '\0';
                }
                snprintf(gpu->field[i], sizeof gpu->field[i], "%.127s", rest);
                rest = end ? end + 1 : NULL;
            }
        }
    }
    fclose(file);
    return 1;
}

static nvmlReturn_t read_gpu(const void *device, struct gpu *gpu)
{
    struct config config;
    unsigned index = (unsigned)((const char *)device - handles);
    if (!read_config(&config)) {
        return DRIVER_NOT_LOADED;
    }
    if (index >= config.count) {
        return INVALID_ARGUMENT;
    }
    *gpu = config.gpu[index];
    return gpu->lost ? GPU_IS_LOST : SUCCESS;
}

static long long figure(const struct gpu *gpu, int field)
{
    const char *text = gpu->field[field];
    return text[0] == '\0' || text[0] == '-' ? NOT_TOLD : atoll(text);
}

static nvmlReturn_t read_figure(const void *device, int field, long long *value)
{
    struct gpu gpu;
    nvmlReturn_t result = read_gpu(device, &gpu);
    if (result != SUCCESS) {
        return result;
    }
    *value = figure(&gpu, field);
    return *value == NOT_TOLD ? NOT_SUPPORTED : SUCCESS;
}

static nvmlReturn_t copy(char *to, unsigned length, const char *from)
{
    if (strlen(from) >= length) {
        return INSUFFICIENT_SIZE;
    }
    strcpy(to, from);
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void)
{
    struct config config;
    return read_config(&config) ? SUCCESS : DRIVER_NOT_LOADED;
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return nvmlInit_v2();
}

nvmlReturn_t nvmlShutdown(void)
{
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
    (void)result;
    return "an error of the fake NVML";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    struct config config;
    return read_config(&config) ? copy(version, length, config.driver) : DRIVER_NOT_LOADED;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    struct config config;
    if (!read_config(&config)) {
        return DRIVER_NOT_LOADED;
    }
    *count = config.count;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    struct gpu gpu;
    if (index >= MAX_GPUS) {
        return INVALID_ARGUMENT;
    }
    *device = &handles[index];
    return read_gpu(*device, &gpu);
}

nvmlReturn_t nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    struct gpu gpu;
    nvmlReturn_t result = read_gpu(device, &gpu);
    return result == SUCCESS ? copy(name, length, gpu.field[NAME]) : result;
}

nvmlReturn_t nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    struct gpu gpu;
    nvmlReturn_t result = read_gpu(device, &gpu);
    return result == SUCCESS ? copy(uuid, length, gpu.field[UUID]) : result;
}

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory)
{
    const unsigned long long mib = 1024 * 1024;
    long long total, used;
    nvmlReturn_t result = read_figure(device, MEMORY, &total);
    if (result != SUCCESS) {
        return result;
    }
    if (read_figure(device, MEMORY_USED, &used) != SUCCESS) {
        used = 0;
    }
    memory->total = (unsigned long long)total * mib;
    memory->used = (unsigned long long)used * mib;
    memory->free = memory->total - memory->used;
    memory->reserved = 0;
    return SUCCESS;
}

struct utilization {
    unsigned gpu, memory;
};

nvmlReturn_t nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates)
{
    long long percent;
    nvmlReturn_t result = read_figure(device, UTILISATION, &percent);
    if (result == SUCCESS) {
        rates->gpu = (unsigned)percent;
        rates->memory = 0;
    }
    return result;
}

static nvmlReturn_t coder_utilization(void *device, int field, unsigned *percent, unsigned *period_us)
{
    long long value;
    nvmlReturn_t result = read_figure(device, field, &value);
    if (result == SUCCESS) {
        *percent = (unsigned)value;
        *period_us = 167000;
    }
    return result;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(void *device, unsigned *percent, unsigned *period_us)
{
    return coder_utilization(device, ENCODER, percent, period_us);
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(void *device, unsigned *percent, unsigned *period_us)
{
    return coder_utilization(device, DECODER, percent, period_us);
}

nvmlReturn_t nvmlDeviceGetEncoderStats(void *device, unsigned *sessions, unsigned *fps, unsigned *latency_us)
{
    long long value;
    nvmlReturn_t result = read_figure(device, SESSIONS, &value);
    if (result == SUCCESS) {
        *sessions = (unsigned)value;
        *fps = value ? 60 : 0;
        *latency_us = value ? 4000 : 0;
    }
    return result;
}

nvmlReturn_t nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    long long value;
    nvmlReturn_t result;
    (void)sensor;
    result = read_figure(device, TEMPERATURE, &value);
    if (result == SUCCESS) {
        *celsius = (unsigned)value;
    }
    return result;
}
