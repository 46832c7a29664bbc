// arduino-esp32's I2SClass, with a microphone whose samples count.
#pragma once
#include "WiFi.h"

enum i2s_mode_t { I2S_MODE_STD };
enum i2s_data_bit_width_t { I2S_DATA_BIT_WIDTH_32BIT = 32 };
enum i2s_slot_mode_t { I2S_SLOT_MODE_MONO = 1 };
enum i2s_std_slot_mask_t { I2S_STD_SLOT_LEFT = 1 };

class I2SClass {
  uint32_t position = 0;

public:
  void setPins(int8_t, int8_t, int8_t, int8_t) {}
  bool begin(i2s_mode_t, uint32_t, i2s_data_bit_width_t, i2s_slot_mode_t, int8_t) { return true; }

  size_t readBytes(char *bytes, size_t size) {
    for (size_t at = 0; at + 4 <= size; at += 4, position++) {
      const uint32_t sample = 1u << 28 | (position & 0x0fffffff);
      memcpy(bytes + at, &sample, 4);
    }
    return size;
  }
};
