// arduino-esp32's I2SClass, with a microphone whose samples count: 24 bits, left-justified, the microphone in the upper four. With
// REAL_TIME in the environment they come at their rate, else at once.
#pragma once
#include <chrono>
#include <thread>

#include "WiFi.h"

enum i2s_mode_t { I2S_MODE_STD };
enum i2s_data_bit_width_t { I2S_DATA_BIT_WIDTH_32BIT = 32 };
enum i2s_slot_mode_t { I2S_SLOT_MODE_MONO = 1 };
enum i2s_std_slot_mask_t { I2S_STD_SLOT_LEFT = 1 };

class I2SClass {
  using Clock = std::chrono::steady_clock;
  static inline uint32_t microphones = 0;
  const uint32_t microphone = ++microphones;
  uint32_t position = 0, rate = 48000;
  const bool real_time = getenv("REAL_TIME") != nullptr;
  Clock::time_point began{};

  // Until the last of these samples has been captured; a board that is not there in time says so.
  void wait(size_t samples) {
    const auto due = began + std::chrono::nanoseconds((position + samples) * 1000000000ull / rate);
    std::this_thread::sleep_until(due);
    if (Clock::now() - due > std::chrono::milliseconds(3)) puts("stalled");
  }

public:
  void setPins(int8_t, int8_t, int8_t, int8_t) {}
  bool begin(i2s_mode_t, uint32_t hz, i2s_data_bit_width_t, i2s_slot_mode_t, int8_t) {
    rate = hz;
    // It captures from here on, whenever it is read.
    began = Clock::now();
    return true;
  }

  size_t readBytes(char *bytes, size_t size) {
    if (real_time) wait(size / 4);
    for (size_t at = 0; at + 4 <= size; at += 4, position++) {
      const uint32_t sample = microphone << 28 | (position & 0xfffff) << 8;
      memcpy(bytes + at, &sample, 4);
    }
    return size;
  }
};
