// The project's later firmware: left, right and centre in turn on one port, 512 frames a chunk. The channel stands in bits 1 and 2 of
// each sample, the frame modulo 8 in bits 3 to 5. Arduino's write() makes 4 x 1460 + 304 bytes of each 6144.
#include <ESP_I2S.h>
#include <WiFi.h>
#include <WiFiUdp.h>

const IPAddress SERVER(127, 0, 0, 1);

I2SClass microphones[3];
WiFiUDP udp;
int32_t channel[512], frames[512][3];

void setup() {
  udp.begin(0);
  for (auto &microphone : microphones)
    microphone.begin(I2S_MODE_STD, 48000, I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO, I2S_STD_SLOT_LEFT);
}

void loop() {
  for (int mic = 0; mic < 3; mic++) {
    microphones[mic].readBytes((char *)channel, sizeof channel);
    for (int i = 0; i < 512; i++) frames[i][mic] = (channel[i] & ~0x3e) | mic << 1 | (i & 7) << 3;
  }
  udp.beginPacket(SERVER, PORT0);
  udp.write((const uint8_t *)frames, sizeof frames);
  udp.endPacket();
}
